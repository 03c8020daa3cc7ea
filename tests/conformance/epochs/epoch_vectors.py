"""Makes the vectors of epochs, docs/vectors/epochs*: a task that changes in every way, and what is no epoch of it."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from conformance.vector_files import DIRECTORY
from support.epochs import SHAPES, TASK, Changing, in_order, newer
from support.federation import identity

from secure_agg.protocol.codec import model_digest
from secure_agg.protocol.config import NO_DIGEST, Policy
from secure_agg.protocol.epoch import EpochBody, EpochEvidence, EpochRecord, Record, accept_bytes, authorise_bytes
from secure_agg.protocol.identity import Identity, KeyDirectory, Roster
from secure_agg.protocol.messages import Signature, encode
from secure_agg.protocol.renunciation import RenunciationCertificate
from secure_agg.roles.client.client import Client
from secure_agg.roles.epochs import checking
from secure_agg.roles.epochs.change import Change
from secure_agg.roles.epochs.following import Step, Steps
from secure_agg.roles.epochs.forks import two_epochs
from secure_agg.roles.epochs.pins import epoch_digest, under
from secure_agg.roles.trust import Trust
from zk.transcript import digest

TRUST: Final = "epochs.trust.json"
STEPS: Final = "epochs.steps"
FAULT: Final = "epochs.fault"
VECTORS: Final = "epochs.json"
NEW: Final = identity("new")
HOLDERS: Final = tuple(identity(f"aggregator-{i}") for i in (1, 2, 3))
ADMINISTRATORS: Final = tuple(identity(f"admin{i}") for i in range(3))


class _Fixed(Changing):
    """The same bytes every time."""

    def client(self, name: str) -> Client:
        entropy = hashlib.sha256(b"entropy of " + name.encode() + len(self.ledger).to_bytes(8, "big")).digest()
        return Client(
            self.keys[name],
            self.places[name].trust,
            store=self.store(self.keys[name]),
            entropy=lambda size: entropy[:size],
        )


@dataclass(frozen=True)
class Epoch:
    """One, at its place.

    Attributes:
        before: what was in force.
        last: the task's record before it.
        record, evidence: its own.
        keys: of everybody who has a say, by id.
    """

    before: Trust
    last: Record | None
    record: EpochRecord
    evidence: EpochEvidence
    keys: dict[str, Identity]


@dataclass(frozen=True)
class Played:
    """A task's epochs; ``steps`` as the ledger had them when each was new."""

    genesis: Trust
    epochs: tuple[Epoch, ...]
    steps: tuple[Step, ...]
    ledger: bytes


def play() -> Played:
    """Members join, leave and rotate, the clip changes, administrators come, a training begins, operators open sums."""
    with tempfile.TemporaryDirectory() as folder:
        KeyDirectory(Path(folder) / "rounds.db.keys").add("log", identity("log"))
        task = _Fixed(Path(folder), 5, min_clients=2)
        found, steps = list[Epoch](), list[Step]()
        try:
            for change, new, rounds in _changes(task):
                for _ in range(rounds):
                    task.round(task.updates(len(task.ledger)))
                before, last, seen = task.trust, task.ledger.newest(TASK), steps
                keys = {**task.keys, **{key.name: key for key in (*ADMINISTRATORS, *HOLDERS)}, **new}
                task.change(new, **change(task))
                if before.task(TASK).threshold == 0 and task.trust.task(TASK).threshold:
                    task.administrators = list(ADMINISTRATORS)
                index = task.ledger.epochs(TASK)[-1]
                record, evidence = task.ledger.epoch(index)
                found.append(Epoch(before, last, record, evidence, keys))
                place = _seen(seen)
                steps += task.ledger.steps(TASK, len(steps), place).steps
            return Played(task.genesis, tuple(found), tuple(steps), task.ledger.log_public)
        finally:
            task.ledger.close()


def _seen(steps: list[Step]) -> int | None:
    from secure_agg.tlog.receipt import Receipt

    return Receipt.from_bytes(steps[-1].receipt).checkpoint.size if steps else None


_Changes = Iterable[tuple[Callable[[Changing], dict[str, Any]], dict[str, Identity], int]]


def _changes(task: Changing) -> _Changes:
    """What each epoch changes, the new keys, and how many rounds come before it."""

    def policy(**fields: Any) -> Callable[[Changing], dict[str, Any]]:
        return lambda task: {"policy": msgspec.structs.replace(task.trust.task(TASK).policy, **fields)}

    def others(_: Changing) -> dict[str, Any]:
        keys = {key.name: key.public for key in (task.operator, *HOLDERS)}
        members = len(task.members)
        return {
            "policy": Policy.default(members, backend="additive", clip=1.0, bits=16, min_clients=2),
            "operators": Roster(keys),
        }

    admins = Roster({key.name: key.public for key in ADMINISTRATORS})
    model = model_digest([np.full(shape, 0.25) for shape in SHAPES])
    yield lambda _: {"join": {NEW.name: NEW.public}}, {NEW.name: NEW}, 1
    yield lambda _: {"rotate": {"m1": newer("m1").public}}, {"m1": newer("m1")}, 0
    yield lambda _: {"leave": frozenset({"m0"})}, {}, 1
    yield policy(clip=0.5, weight_scale=2, weight_span=8, first_weight=4, max_weight=16, max_error=1e6), {}, 0
    yield (
        lambda _: {"administrators": admins, "threshold": 2},
        {key.name: key for key in ADMINISTRATORS},
        0,
    )
    yield lambda _: {"restart": ("second", model)}, {}, 1
    yield others, {key.name: key for key in HOLDERS}, 0
    # Where operators open sums nobody can close for all what is of a generation above 0, so a training begins.
    yield lambda _: {"leave": frozenset({"m2"}), "restart": ("third", NO_DIGEST[:-1] + b"\1")}, {}, 0


# --- what is refused --------------------------------------------------------------------------------------------------


def signed(
    epoch: Epoch,
    body: bytes,
    *,
    authorised: Iterable[Identity] = (),
    accepted: Iterable[Identity] = (),
    closed: Iterable[Identity] | None = (),
    at: dict[str, Any] | None = None,
) -> bytes:
    """Evidence of a body, signed by whoever is named, and by all who may where nobody is.

    Args:
        closed: None for no closure.
        at: fields of what is closed.
    """
    replace, known = msgspec.structs.replace, epoch.evidence.says
    hashed, previous = digest("epoch-body", body), epoch_digest(epoch.before, TASK)

    def those(names: Iterable[str]) -> list[Identity]:
        return [epoch.keys[name] for name in names]

    authorising = list(authorised) or those(item.name for item in epoch.evidence.authorisations)
    accepting = list(accepted) or those(item.name for item in epoch.evidence.acceptances)
    authorisations = [Signature(k.name, k.sign(authorise_bytes(TASK, previous, hashed))) for k in authorising]
    acceptances = [Signature(k.name, k.sign(accept_bytes(TASK, hashed, k.name, k.public))) for k in accepting]
    closure = b""
    if closed is not None:
        said = checking.ends(epoch.before, known, epoch.last, _closed(epoch).statement.base_model)
        statement = replace(said, **({"successor": hashed} | (at or {})))
        closing = list(closed) or those(_voters(epoch))
        closure = RenunciationCertificate.of(statement, [statement.sign(key) for key in closing]).to_bytes()
    return EpochEvidence(
        body=body, authorisations=in_order(authorisations), acceptances=in_order(acceptances), closure=closure
    ).to_bytes()


def _closed(epoch: Epoch) -> RenunciationCertificate:
    return RenunciationCertificate.from_bytes(epoch.evidence.closure)


def _voters(epoch: Epoch) -> list[str]:
    return [item.name for item in _closed(epoch).signatures]


def bodies(epoch: Epoch) -> dict[str, bytes]:
    """Bodies that can't be in this place, or at all; every signature over them is good."""
    says = epoch.evidence.says
    fields = list(EpochBody.__struct_fields__)
    raw: list[Any] = msgspec.msgpack.decode(says.to_bytes())

    def changed(**values: Any) -> bytes:
        return msgspec.msgpack.encode([values.get(name, raw[place]) for place, name in enumerate(fields)])

    member, roster = raw[fields.index("roster")][0], raw[fields.index("roster")]
    admins = [[key.name, key.public] for key in ADMINISTRATORS]
    policy = list(raw[fields.index("policy")])
    few = list(policy)
    few[Policy.__struct_fields__.index("min_advertised")] = len(roster) + 1
    stranger = ["stranger", identity("stranger").public]
    options = Policy.__struct_fields__.index("options")

    def ruled(**settings: int) -> bytes:
        return changed(policy=[*policy[:options], sorted([k, v] for k, v in settings.items()), *policy[options + 1 :]])

    return {
        "another version": changed(version=2),
        "another task": changed(task="other"),
        "the evaluation of a task": changed(task=f"{TASK}-evaluation"),
        "a number is left out": changed(epoch=says.epoch + 1),
        "the number of the epoch in force": changed(epoch=says.epoch - 1),
        "it follows another epoch": changed(previous_epoch=hashlib.sha256(b"another").digest()),
        "half of the administrators": changed(administrators=admins[:2], threshold=1),
        "a threshold without administrators": changed(threshold=1),
        "more than all witnesses": changed(quorum=1),
        "a member who is an operator": changed(operators=sorted([*raw[fields.index("operators")], member])),
        "members out of order": changed(roster=roster[::-1]),
        "a member twice": changed(roster=[member, *roster]),
        "a key twice": changed(roster=sorted([*roster, [stranger[0], member[1]]])),
        "fewer members than join a round": changed(policy=few),
        "an edge's policy": ruled(level=1),
        "the policy of a tree's top": ruled(level=2),
        "a buffered policy": ruled(buffer_honest=2),
        "an unknown mode": changed(mode="pause"),
        "the mode of the first epoch": changed(mode="genesis"),
        "a new training without a model": changed(mode="restart", name="second"),
        "a new training without a name": changed(mode="restart", base_model=hashlib.sha256(b"model").digest()),
        "a name and no new training": changed(name="second"),
        "a beacon that nobody draws by": changed(beacon=b"\1"),
        "a field more": msgspec.msgpack.encode([*raw, 0]),
    }


def refused(played: Played) -> list[dict[str, Any]]:
    """Evidence that makes no epoch, each in the place of one that does."""
    joins, rotates, leaves, clipped = played.epochs[:4]
    led, opened = played.epochs[5], played.epochs[7]
    found: list[tuple[str, Epoch, bytes]] = []

    def case(why: str, epoch: Epoch, **how: Any) -> None:
        found.append((why, epoch, signed(epoch, epoch.evidence.body, **how)))

    def as_is(why: str, epoch: Epoch, **changes: Any) -> None:
        found.append((why, epoch, msgspec.structs.replace(epoch.evidence, **changes).to_bytes()))

    some = [leaves.keys[item.name] for item in leaves.evidence.authorisations]
    stranger = identity("stranger")
    voters = [leaves.keys[name] for name in _voters(leaves)]
    least = 4  # of six members with f = 1 both to authorise and to close
    case("authorised by too few", leaves, authorised=some[: least - 1])
    case("authorised by a stranger", leaves, authorised=[*some, stranger])
    case("authorised by who comes only now", joins, authorised=[*list(joins.keys.values())[:4], NEW])
    as_is("authorisations out of order", leaves, authorisations=leaves.evidence.authorisations[::-1])
    as_is("an authorisation twice", leaves, authorisations=leaves.evidence.authorisations[:1] * least)
    as_is("authorised another body", clipped, authorisations=leaves.evidence.authorisations)
    case("owners where administrators are pinned", led, authorised=[led.keys[name] for name in _voters(led)])
    case("one administrator of three", led, authorised=[led.keys["admin0"]])
    as_is("a new key has not accepted", joins, acceptances=())
    case("an old key in the place of a new one", rotates, accepted=[identity("m1")])
    case("accepted by who has no new key", rotates, accepted=[rotates.keys["m1"], rotates.keys["m2"]])
    case("authority alone closes nothing", leaves, closed=None)
    case("administrators alone close nothing", led, closed=None)
    case("closed by too few", leaves, closed=voters[: least - 1])
    case("closed by a stranger", leaves, closed=[*voters, stranger])
    case("closed by who comes only now", joins, closed=[joins.keys[NEW.name], joins.keys["m0"], joins.keys["m2"]])
    case("closed for another epoch", leaves, at={"successor": clipped.record.body})
    case("closed for none", leaves, at={"successor": b""})
    case("closed at another round", leaves, at={"round": leaves.record.rounds + 1})
    case("closed in another draw", leaves, at={"draw": 1})
    case("closed another epoch", leaves, at={"epoch": leaves.record.epoch})
    case("closed by another roster", leaves, at={"cohort_root": NO_DIGEST})
    case("closed from another model", leaves, at={"start_model": hashlib.sha256(b"model").digest()})
    case("closed in a generation that is over", rotates, at={"generation": 0})
    case("too few close where operators open sums", opened, closed=[opened.keys[n] for n in _voters(opened)[:3]])
    found += [(f"body: {why}", leaves, signed(leaves, body)) for why, body in bodies(leaves).items()]
    data = leaves.evidence.to_bytes()
    found.append(("a byte more", leaves, data + b"\0"))
    found.append(("another format", leaves, data.replace(b"secure-agg/epoch/1", b"secure-agg/epoch/2")))
    return [{"why": why, "epoch": epoch.record.epoch, "evidence": data.hex()} for why, epoch, data in found]


def refused_steps(played: Played) -> list[dict[str, Any]]:
    """Steps that are not followed from the epoch before, after the checkpoint of the step before."""
    third, fourth = played.steps[2], played.steps[3]
    replace = msgspec.structs.replace
    record = EpochRecord.from_bytes(third.record)
    cases = {
        "an epoch is left out": fourth,
        "the receipt of another record": replace(third, receipt=fourth.receipt),
        "an older ledger": replace(third, receipt=played.steps[0].receipt),
        "no proof that the ledger goes on": replace(third, consistency=()),
        "a proof of another ledger": replace(third, consistency=(*third.consistency[::-1], bytes(32))),
        "a record of other rounds": replace(third, record=replace(record, rounds=record.rounds + 1).to_bytes()),
        "a record from another model": replace(third, record=replace(record, start_model=bytes(32)).to_bytes()),
        "a record without the closure": replace(third, record=replace(record, renounced=bytes(32)).to_bytes()),
        "evidence of another epoch": replace(third, evidence=fourth.evidence),
        "no receipt": replace(third, receipt=b""),
    }
    return [{"why": why, "epoch": 3, "step": encode(step).hex()} for why, step in cases.items()]


def forks(played: Played) -> tuple[bytes, dict[str, str]]:
    """A proof against who has authorised two successors, and proofs of nothing."""
    leaves = played.epochs[2]
    other = Change(leave=frozenset({"m3"})).body(leaves.before, TASK)
    second = EpochEvidence.from_bytes(signed(leaves, other.to_bytes(), closed=None))
    proof, *_ = two_epochs(leaves.before, leaves.evidence, second)
    replace, (one, two) = msgspec.structs.replace, proof.exhibits
    return proof.to_bytes(), {
        "one epoch twice": replace(proof, exhibits=(one, one)).to_bytes().hex(),
        "one exhibit": replace(proof, exhibits=(one,)).to_bytes().hex(),
        "another key": replace(proof, public=identity("stranger").public).to_bytes().hex(),
        "of a round": replace(proof, config=b"\0").to_bytes().hex(),
        "exhibits out of form": replace(proof, exhibits=(one, two + b"\0")).to_bytes().hex(),
    }


def vectors(played: Played) -> dict[str, Any]:
    """What is signed, the leaves, and what is refused."""

    def one(epoch: Epoch) -> dict[str, Any]:
        body, said = epoch.evidence.says, _closed(epoch).statement
        return {
            "epoch": body.epoch,
            "mode": body.mode,
            "last": epoch.last.to_bytes().hex() if epoch.last else None,
            "previous_epoch": body.previous_epoch.hex(),
            "body": body.digest.hex(),
            "authorise": authorise_bytes(TASK, body.previous_epoch, body.digest).hex(),
            "accept": {
                item.name: accept_bytes(TASK, body.digest, item.name, epoch.keys[item.name].public).hex()
                for item in epoch.evidence.acceptances
            },
            "renounce": said.signed_bytes.hex(),
            "closure": _closed(epoch).digest().hex(),
            "evidence": epoch.evidence.digest().hex(),
            "record": epoch.record.to_bytes().hex(),
            "record_digest": epoch.record.digest().hex(),
        }

    return {
        "trust": TRUST,
        "steps": STEPS,
        "task": TASK,
        "log": played.ledger.hex(),
        "genesis": epoch_digest(played.genesis, TASK).hex(),
        "epochs": [one(epoch) for epoch in played.epochs],
        "refused": refused(played),
        "refused_steps": refused_steps(played),
        "fault": FAULT,
        "no_faults": forks(played)[1],
    }


def before(trust: Trust, steps: Iterable[Step]) -> list[Trust]:
    """What is in force before each step, and after the last."""
    found = [trust]
    for step in steps:
        found.append(under(found[-1], EpochEvidence.from_bytes(step.evidence)))
    return found


def write() -> None:
    """Write the files."""
    played = play()
    (DIRECTORY / TRUST).write_text(played.genesis.to_json(), "utf-8")
    (DIRECTORY / STEPS).write_bytes(Steps(played.steps).to_bytes())
    (DIRECTORY / FAULT).write_bytes(forks(played)[0])
    text = json.dumps(vectors(played), indent=1, ensure_ascii=False)
    (DIRECTORY / VECTORS).write_text(text + "\n", "utf-8")


if __name__ == "__main__":
    write()
