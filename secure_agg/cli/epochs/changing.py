"""The commands by which a federation changes: files in, files out, in any order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from secure_agg import files
from secure_agg.beacon.recorded import BeaconFile
from secure_agg.cli.epochs import served
from secure_agg.cli.epochs.policies import budget_document, next_policy, past_of
from secure_agg.cli.epochs.served import UrlOption
from secure_agg.cli.epochs.sources import Source, opened
from secure_agg.cli.federation.groups import GROUP_HELP
from secure_agg.cli.terminal.output import JsonOption, emit, show_fields
from secure_agg.errors import ConfigError, VerificationError
from secure_agg.fl.model_files import digest_argument
from secure_agg.plugins.homes import proposals
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.folder import STORE_FILE
from secure_agg.plugins.homes.offers import Offers
from secure_agg.plugins.homes.proposals import Approval
from secure_agg.protocol.epoch import EpochEvidence
from secure_agg.protocol.identity import Identity, Roster
from secure_agg.roles.epochs import checking
from secure_agg.roles.epochs.budgets import Past, Renewal
from secure_agg.roles.epochs.change import Change, differences
from secure_agg.roles.epochs.pins import authority, closing
from secure_agg.roles.memory.store import AttemptStore
from secure_agg.roles.trust import Trust
from secure_agg.service.epochs.changes import Changes
from secure_agg.service.link import Party

PlaceArgument = Annotated[
    Path, typer.Argument(metavar="HOME|LEDGER", help="A node's or the server's home, or a ledger's database file.")
]
ProposalArgument = Annotated[
    str, typer.Argument(metavar="PROPOSAL", help="File from 'propose'; with --url its digest, from 'status'.")
]
TaskChoice = Annotated[str | None, typer.Option("--task", metavar="NAME", help="Of a ledger with several tasks.")]


def propose(
    place: PlaceArgument,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="New file for the proposal.")] = None,
    url: UrlOption = None,
    offer: Annotated[
        bool, typer.Option("--offer", help="Lay it open in the server's home: members see it with 'status --url'.")
    ] = False,
    join: Annotated[
        list[str] | None, typer.Option("--join", metavar="ID=HEX", help="A new member, with its public key.")
    ] = None,
    leave: Annotated[list[str] | None, typer.Option("--leave", metavar="ID", help="A member who leaves.")] = None,
    rotate: Annotated[
        list[str] | None, typer.Option("--rotate", metavar="ID=HEX", help="Another key for a member who stays.")
    ] = None,
    clip: Annotated[float | None, typer.Option(metavar="C", help="Another clip.")] = None,
    bits: Annotated[int | None, typer.Option(metavar="B", help="Other bits per value.")] = None,
    backend: Annotated[str | None, typer.Option(metavar="NAME", help="Another backend.")] = None,
    max_weight: Annotated[int | None, typer.Option(metavar="W", help="Another largest weight.")] = None,
    min_clients: Annotated[int | None, typer.Option(metavar="N", help="Fewest clients whose sum is opened.")] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(
            "--group", metavar="NAME:…", help="Another group, or one in place of the one of its name; " + GROUP_HELP
        ),
    ] = None,
    drop_group: Annotated[
        list[str] | None, typer.Option("--drop-group", metavar="NAME", help="A group that is there no more.")
    ] = None,
    privacy_epsilon: Annotated[
        float | None,
        typer.Option(
            "--privacy-epsilon", metavar="E", help="Another privacy budget; what was spent counts against it."
        ),
    ] = None,
    privacy_delta: Annotated[
        float | None, typer.Option("--privacy-delta", metavar="D", help="Another delta of the budget.")
    ] = None,
    privacy_norm: Annotated[
        float | None, typer.Option("--privacy-norm", metavar="C", help="Another L2 norm that updates are brought to.")
    ] = None,
    privacy_rounds: Annotated[
        int | None,
        typer.Option(
            "--privacy-rounds", metavar="T", help="How many more rounds the budget is to last for; else as it was."
        ),
    ] = None,
    privacy_honest: Annotated[
        float | None,
        typer.Option("--privacy-honest", metavar="SHARE", help="Another share of the honest who are counted on."),
    ] = None,
    operator: Annotated[
        list[str] | None, typer.Option("--operator", metavar="ID=HEX", help="All operators from then on; one for each.")
    ] = None,
    administrator: Annotated[
        list[str] | None,
        typer.Option("--administrator", metavar="ID=HEX", help="Who authorises the epoch after; one for each."),
    ] = None,
    threshold: Annotated[
        int | None, typer.Option(metavar="N", help="How many of them do, by default more than half.")
    ] = None,
    restart: Annotated[
        str | None, typer.Option("--restart", metavar="NAME", help="Begin a new training of this name.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="FILE|DIGEST", help="With --restart, the model it begins from.")
    ] = None,
    beacon: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where cohorts are drawn, the beacon and schedule from then on.")
    ] = None,
    task: TaskChoice = None,
    as_json: JsonOption = False,
) -> None:
    """Propose the next epoch: who joins and leaves, other keys, other rules, or a new training.

    Nothing changes by this. Owners look at the file and 'approve' it, whoever has a new key does too, and 'status'
    collects what they have signed. With --url, of a member's home, it lies open at the service instead, which collects.
    """
    if [out is not None, url is not None, offer].count(True) != 1:
        raise ConfigError("a proposal goes to one place: --out FILE, --url URL of a service, or --offer at its home")
    if (restart is None) != (model is None):
        raise ConfigError("a new training has a name and a model: --restart NAME --model FILE")
    with opened(place, task) as source:
        pins = source.trust.task(source.task)
        joining, leaving = _keys(join, "--join"), frozenset(leave or ())
        members = len(pins.roster) - len(leaving) + len(joining)
        changes: dict[str, Any] = {
            name: value
            for name, value in (
                ("clip", clip),
                ("bits", bits),
                ("backend", backend),
                ("max_weight", max_weight),
                ("min_clients", min_clients),
            )
            if value is not None
        }
        admins = _keys(administrator, "--administrator")
        private = Renewal(
            epsilon=privacy_epsilon,
            delta=privacy_delta,
            norm=privacy_norm,
            rounds=privacy_rounds,
            honest=privacy_honest,
        )
        change = Change(
            join=joining,
            leave=leaving,
            rotate=_keys(rotate, "--rotate"),
            policy=next_policy(source, members, changes, group or [], drop_group or [], private),
            operators=Roster(_keys(operator, "--operator")) if operator else None,
            administrators=Roster(admins) if admins else None,
            threshold=(len(admins) // 2 + 1 if threshold is None else threshold) if admins else None,
            restart=None if restart is None or model is None else (restart, digest_argument(model)),
            beacon=None if beacon is None else BeaconFile.load(beacon).source,
        )
        if url is not None:
            if source.client is None:
                raise ConfigError("over a service a member proposes, by its home; at the server's it is --offer")
            with served.asking(url, source.client) as there:
                proposal, trust = there.propose(change).proposal, there.trust
        else:
            proposal, trust = proposals.propose(source.trust, source.task, change), source.trust
        if offer:
            if source.server is None:
                raise ConfigError("--offer is for the server's home; a member proposes by --url")
            Offers(source.server).put(source.server.name, proposal)
        elif out is not None:
            files.create(out, proposal.to_bytes(), mode=0o644)
        document = _document(trust, proposal, past_of(source)) | ({"file": str(out)} if out is not None else {})
    emit(document, as_json, lambda console: _show(console, document))


def store_beside(identity: Path) -> Path:
    """Where a key's owner is bound to what it authorises: in the store of the home that the key lies in, which
    ``--home`` takes too, or beside the key. Two stores of one key would let its owner authorise two epochs by mistake,
    and be named for it.
    """
    ours = identity.resolve().with_name(STORE_FILE)
    return ours if ours.exists() else identity.with_name(f"{identity.name}.epochs")


def approve(
    proposal: ProposalArgument,
    home: Annotated[Path | None, typer.Option("--home", metavar="DIR", help="Your node's home.")] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="ID", help="Without a home: your id, as administrator or newcomer."),
    ] = None,
    identity: Annotated[
        Path | None,
        typer.Option("--identity", metavar="FILE", help="Your key; with --home, the new one of a rotation."),
    ] = None,
    trust: Annotated[Path | None, typer.Option("--trust", metavar="FILE", help="Without a home: your pins.")] = None,
    epochs: Annotated[
        Path | None, typer.Option("--epochs", metavar="FILE", help="Epochs since those pins, from 'status --epochs'.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="New file for it with your signatures; else in place.")
    ] = None,
    url: UrlOption = None,
    task: TaskChoice = None,
    as_json: JsonOption = False,
) -> None:
    """Approve a proposal: authorise it if that is yours to do, accept it for a new key, and have your node follow it.

    An owner authorises one proposal for each epoch, and no other. Look at what it changes first: 'status' says it. With
    --url it is named by the digest that 'status' has shown: whatever the service sends then, nothing else is signed.
    """
    if home is not None:
        if name is not None or trust is not None or epochs is not None:
            raise ConfigError("--home has name, key and pins: of --identity alone a new key is taken")
        with ClientHome.open(home) as mine:
            if identity is not None and mine.next_identity is None:
                mine.await_key(Identity.load(mine.name, identity))
            with _proposal(proposal, url, mine) as (found, changes):
                in_force = changes.trust if changes is not None else mine.trust
                approval = _given(proposals.approve(mine, found, in_force), changes)
                past = past_of(Source(mine.task, in_force, client=mine))
    else:
        if name is None or identity is None or trust is None:
            raise ConfigError("without --home it takes --name, --identity and --trust")
        who = served.outsider(name, identity, trust, task, epochs)
        with _proposal(proposal, url, who) as (found, changes), AttemptStore(store_beside(identity)) as store:
            in_force, past = changes.trust if changes is not None else who.trust, None
            approval = _given(proposals.sign(store, [who.identity], in_force, found), changes)
    if out is not None:
        files.create(out, approval.proposal.to_bytes(), mode=0o644)
    elif url is None:
        files.replace(Path(proposal), approval.proposal.to_bytes())
    document = _document(in_force, approval.proposal, past) | {
        **({"file": str(out or proposal)} if out is not None or url is None else {}),
        "authorised": approval.authorised,
        "accepted": approval.accepted,
    }
    emit(document, as_json, lambda console: _show(console, document))


@contextmanager
def _proposal(named: str, url: str | None, party: Party) -> Iterator[tuple[EpochEvidence, Changes | None]]:
    """A proposal from its file, or with a URL from the service that it lies open at."""
    if url is None:
        yield proposals.read(Path(named)), None
        return
    digest = served.digest_of(named)
    with served.asking(url, party) as changes:
        yield changes.find(digest).proposal, changes


def _given(approval: Approval, changes: Changes | None) -> Approval:
    """An approval, brought to the service that it is for; with all signatures that lie there."""
    if changes is None:
        return approval
    return replace(approval, proposal=changes.bring(approval.proposal).proposal)


def status(
    place: PlaceArgument,
    given: Annotated[
        list[Path] | None, typer.Argument(metavar="[PROPOSAL]...", help="Copies of one proposal, to be put together.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="New file for the proposal with all their signatures.")
    ] = None,
    submit: Annotated[
        bool,
        typer.Option("--submit", help="Lay it into the server's home: nodes close the epoch at its next round."),
    ] = False,
    epochs: Annotated[
        Path | None,
        typer.Option("--epochs", metavar="FILE", help="New file for all epochs so far, for 'join --epochs'."),
    ] = None,
    url: UrlOption = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="ID", help="With --url and a trust file: your id.")
    ] = None,
    identity: Annotated[
        Path | None, typer.Option("--identity", metavar="FILE", help="With --url and a trust file: your key.")
    ] = None,
    task: TaskChoice = None,
    as_json: JsonOption = False,
) -> None:
    """Show which epoch is in force, and of a proposal what it changes and who has still to sign.

    With --url it is what a service has: the epochs since those of a member's home, or of a trust file, and what is
    proposed for the next. All of it is checked against what is pinned here.
    """
    if url is not None:
        if given or out is not None or submit:
            raise ConfigError("--url shows what lies at the service: files, --out and --submit are without it")
        _status_over(url, place, name, identity, task, epochs, as_json=as_json)
        return
    with opened(place, task) as source:
        pins = source.trust.task(source.task)
        document: dict[str, Any] = {
            "task": source.task,
            "epoch": pins.epoch,
            "members": len(pins.roster),
            "backend": pins.policy.backend,
            "epochs": _history(source),
        }
        if source.client is not None:
            document["floor"] = asdict(source.client.epochs.floor)
        if epochs is not None:
            if source.ledger is None:
                raise ConfigError("a node's home has its own epochs: the server's, or the ledger, has them for others")
            files.create(epochs, source.ledger.steps(source.task).to_bytes(), mode=0o644)
            document["epochs_file"] = str(epochs)
        if given:
            proposal = checking.merged([proposals.read(path) for path in given])
            if out is not None:
                files.create(out, proposal.to_bytes(), mode=0o644)
            if submit:
                if source.server is None:
                    raise ConfigError("a proposal is submitted to the server's home")
                proposals.submit(source.server, [proposal])
            document["proposal"] = _document(source.trust, proposal, past_of(source)) | {"submitted": submit}
        elif out is not None or submit:
            raise ConfigError("--out and --submit are of a proposal: name its file")

    def show(console: Console) -> None:
        rows = {
            "task": document["task"],
            "epoch": f"{document['epoch']}, in force",
            "members": str(document["members"]),
            "backend": document["backend"],
        }
        for item in document["epochs"]:
            rows[f"epoch {item['epoch']}"] = f"before round {item['rounds']}, {item['mode']}"
        if "floor" in document:
            rows["floor"] = "what is below it waits for the owner: 'secure-agg federation floor' shows and changes it"
        show_fields(console, rows)
        if "proposal" in document:
            _show(console, document["proposal"])

    emit(document, as_json, show)


def _status_over(
    url: str,
    place: Path,
    name: str | None,
    identity: Path | None,
    task: str | None,
    epochs: Path | None,
    *,
    as_json: bool,
) -> None:
    with served.party_of(place, name, identity, task) as party, served.asking(url, party) as changes:
        if epochs is not None:
            if isinstance(party, ClientHome):
                raise ConfigError("a home follows epochs by itself: --epochs is for whoever joins, of a trust file")
            files.create(epochs, changes.steps.to_bytes(), mode=0o644)
        pins = changes.trust.task(party.task)
        document: dict[str, Any] = {
            "task": party.task,
            "epoch": pins.epoch,
            "members": len(pins.roster),
            "backend": pins.policy.backend,
            "proposals": [served.document_of(proposed) for proposed in changes.open()],
        } | ({"epochs_file": str(epochs)} if epochs is not None else {})

    def show(console: Console) -> None:
        rows = {
            "task": document["task"],
            "epoch": f"{document['epoch']}, in force",
            "members": str(document["members"]),
            "backend": document["backend"],
        }
        show_fields(console, rows if document["proposals"] else rows | {"proposals": "none"})
        for proposed in document["proposals"]:
            show_fields(console, served.rows_of(proposed))

    emit(document, as_json, show)


def _history(source: Source) -> list[dict[str, Any]]:
    ledger = source.ledger
    if ledger is not None:
        found = [ledger.epoch(index) for index in ledger.epochs(source.task)]
        items = [(record, evidence.says) for record, evidence in found]
    elif source.client is not None:
        items = list(source.client.epochs.history)
    else:
        items = []
    return [
        {
            "epoch": record.epoch,
            "digest": record.body.hex(),
            "rounds": record.rounds,
            "mode": body.mode,
            "members": len(body.roster),
        }
        for record, body in items
    ]


def _document(trust: Trust, proposal: EpochEvidence, past: Past | None) -> dict[str, Any]:
    """What a proposal changes, what is missing, and what is left of its budget after the rounds so far."""
    body = proposal.says
    now = trust.task(body.task).epoch
    if body.epoch != now + 1:
        raise VerificationError(f"the proposal is of epoch {body.epoch} of task {body.task!r}, and {now} is in force")
    voters, least = authority(trust, body.task)
    _, closers = closing(trust, body.task)
    missing = checking.missing(trust, proposal)
    return {
        "task": body.task,
        "epoch": body.epoch,
        "digest": body.digest.hex(),
        "changes": differences(trust, body),
        "authorised_by": [item.name for item in proposal.authorisations],
        "authority": f"{len(proposal.authorisations)} of {len(voters)}, {least} needed",
        "to_authorise": missing["authorise"],
        "to_accept": missing["accept"],
        "to_close": closers,
    } | ({"budget": budget_document(body.policy.privacy, past)} if body.policy.privacy and past else {})


def _show(console: Console, document: dict[str, Any]) -> None:
    rows = {"task": document["task"], "epoch": f"{document['epoch']}, proposed", "digest": document["digest"]}
    rows |= dict(document["changes"]) or {"changes": "none"}
    if "budget" in document:
        rows["budget"] = document["budget"]["text"]
    rows["authorised"] = document["authority"]
    if document["to_accept"]:
        rows["to_accept"] = ", ".join(document["to_accept"])
    rows["to_close"] = f"{document['to_close']} nodes, at the next round" if document["to_close"] else "nobody can"
    if "file" in document:
        rows["file"] = document["file"]
    show_fields(console, rows)


def _keys(given: list[str] | None, option: str) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for pair in given or ():
        name, equals, text = pair.rpartition("=")
        try:
            raw = bytes.fromhex(text)
        except ValueError:
            raw = b""
        if not equals or not raw or name in keys:
            raise ConfigError(f"{option} {pair!r} is not of the form ID=HEX, each id once")
        keys[name] = raw
    return keys
