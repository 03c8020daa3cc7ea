"""What is looked at, from files that are there: trust files, policies as JSON, and the homes of every party.

Of keys nothing is read but how many lie where, and none is told.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from secure_agg import files, formats
from secure_agg.errors import ConfigError
from secure_agg.ledger.log import Ledger
from secure_agg.ledger.reader import LedgerReader
from secure_agg.plugins.homes import kept
from secure_agg.plugins.homes.client import TRUST_FILE, ClientHome
from secure_agg.plugins.homes.folder import IDENTITY_FILE, SETTINGS_FILE
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.preflight.settings import read_settings
from secure_agg.preflight.subject import Party, Pins, Subject
from secure_agg.privacy import accounting
from secure_agg.protocol.claims import DP_SUM
from secure_agg.protocol.config import Policy
from secure_agg.protocol.config.tree import FLAT, level
from secure_agg.protocol.epoch import EpochRecord, root_task
from secure_agg.protocol.epoch.body import EVALUATION
from secure_agg.roles.memory.spending import signed
from secure_agg.roles.trust import Trust

_MAX_BYTES: Final = 1 << 26
_MAX_SETTINGS: Final = 1 << 16
_LOOKED_AT: Final = 4096


def read(path: Path, task: str | None = None, clients: int | None = None) -> tuple[Subject, dict[str, float]]:
    """What is at a path, and the limits that it sets.

    Args:
        path: a node's, a server's or an operator's home, or a federation's folder; a ledger, a trust file, a policy as
            JSON, or a file of settings.
        task: which of several.
        clients: of the roster, for a policy that has none.

    Raises:
        ConfigError: nothing of these; or it can't be read.
        LedgerError, StoreError: of a home.
    """
    if path.is_dir():
        return _of_folder(path, task), {}
    if formats.kind(files.read(path, _LOOKED_AT, "policy")) == formats.LEDGER:
        return _of_ledger(path, task), {}
    try:
        text = files.read(path, _MAX_BYTES, "policy").decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is neither a policy, a trust file nor a home") from None
    found = formats.kind(text.encode())
    if found == formats.TRUST:
        return of_trust(Trust.from_json(text), task), {}
    if found != formats.JSON:
        subject, limits = read_settings(text, str(path))
        return subject if clients is None else replace(subject, clients=clients), limits
    return Subject(policy=_policy(text, path), clients=_said(clients, path)), {}


def of_trust(trust: Trust, task: str | None) -> Subject:
    """One of the tasks that a trust file pins.

    Raises:
        ConfigError: there are several, or none of that name.
    """
    names = [name for name in trust.tasks if not name.endswith(EVALUATION)]
    if task is None and len(names) != 1:
        raise ConfigError(f"name the task: {', '.join(map(repr, sorted(trust.tasks))) or 'none is pinned'}")
    name = task if task is not None else names[0]
    if name not in trust.tasks:
        raise ConfigError(f"task {name!r} is not pinned: {', '.join(map(repr, sorted(trust.tasks))) or 'none is'}")
    pins = trust.tasks[name]
    return Subject(policy=pins.policy, clients=len(pins.roster), task=name, pins=Pins.of(trust, pins))


def _policy(text: str, path: Path) -> Policy:
    try:
        document = json.loads(text)
        return Policy.from_document(document.get("policy", document))
    except ConfigError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} holds no policy: {type(error).__name__}: {error}") from None


def _said(clients: int | None, path: Path) -> int:
    if clients is None:
        raise ConfigError(f"{path} is a policy, and doesn't say of how many clients: say it")
    return clients


def _of_folder(path: Path, task: str | None) -> Subject:
    if (path / "clients").is_dir() and (path / "server").is_dir():
        return _of_federation(path, task)
    if (path / SETTINGS_FILE).exists():
        return _of_home(path, task)
    if (path / TRUST_FILE).exists():
        subject = of_trust(Trust.load(path / TRUST_FILE), task)
        return replace(subject, party=Party(kind="operator", name=path.name))
    raise ConfigError(f"{path} is no home, nor the folder of a federation: it has no {SETTINGS_FILE} or {TRUST_FILE}")


def _of_home(path: Path, task: str | None) -> Subject:
    """A node's or a server's home, as its settings say."""
    try:
        document = json.loads(files.read(path / SETTINGS_FILE, _MAX_SETTINGS, "home's settings"))
        serves = str(document["format"]).startswith("secure-agg-server/")
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path / SETTINGS_FILE} holds no settings of a home: {error}") from None
    return _of_server(path, task) if serves else _of_client(path, task)


def _of_client(path: Path, task: str | None) -> Subject:
    with ClientHome.open(path) as home:
        subject = of_trust(home.trust, task or home.task)
        spent = signed(home.store, home.name, subject.task or home.task)
        known = home.chain.model() if home.chain.link is not None else None
        return replace(
            subject,
            parameters=None if known is None else sum(array.size for array in known),
            spent=dict(spent),
            spent_by=f"what {home.name!r} has signed" if spent else "",
            party=_party("client", home),
        )


def _of_server(path: Path, task: str | None) -> Subject:
    with ServerHome.open(path) as home:
        subject = _with_records(home.ledger, of_trust(home.trust, task or home.task))
        model = kept.kept(home) if subject.task == home.task and subject.parameters is None else None
        if model is not None:
            subject = replace(subject, parameters=sum(array.size for array in model.values()))
        return replace(subject, party=_party("server", home))


def _of_ledger(path: Path, task: str | None) -> Subject:
    with Ledger(path, read_only=True) as ledger:
        subject = of_trust(ledger.trust, task)
        return _with_records(ledger, of_trust(ledger.in_force(subject.task or ""), subject.task))


def _with_records(ledger: LedgerReader, subject: Subject) -> Subject:
    """With what the task's records tell: its model's size, and what was spent, each round at the noise of its epoch;
    clients may have signed more.
    """
    task = subject.task or ""
    last = ledger.last(task)
    if last is None:
        return subject
    spent = _spent(ledger, task) if subject.policy.privacy is not None else {}
    config = ledger.evidence(last).config if level(subject.policy) == FLAT else None
    return replace(
        subject,
        parameters=None if config is None else config.model_size,
        spent=spent,
        spent_by="the rounds in the ledger, or more" if spent else "",
    )


def _spent(ledger: LedgerReader, task: str) -> dict[int, int]:
    """Rounds with privacy of a task and of what is evaluated of it, which is paid for by the same budget, by their
    noise ratio: of the policy in force when each was made.
    """
    root = root_task(task)
    rule, found = ledger.trust.task(root).policy.privacy, Counter[int]()
    for index in range(len(ledger)):
        record = ledger.entry(index)
        if root_task(record.task) != root:
            continue
        if isinstance(record, EpochRecord):
            rule = ledger.epoch(index)[1].says.policy.privacy
        elif record.claim == DP_SUM and rule is not None:
            found[rule.ratio] += 1
    return dict(found)


def _of_federation(path: Path, task: str | None) -> Subject:
    """Its server's home, and those of its clients, which have to agree with it.

    Raises:
        ConfigError: one does not.
    """
    subject = _of_server(path / "server", task)
    keys, spent, named = 0, dict(subject.spent), ""
    checks = subject.party is not None and subject.party.checks_model
    for folder in sorted(each for each in (path / "clients").iterdir() if (each / IDENTITY_FILE).exists()):
        own = _of_client(folder, subject.task)
        if (own.policy, own.clients, own.pins) != (subject.policy, subject.clients, subject.pins):
            raise ConfigError(f"{folder} pins another policy, roster or ledger than the server's home in {path}")
        keys += 1
        checks = bool(checks and own.party is not None and own.party.checks_model)
        if _cost(subject.policy, own.spent) > _cost(subject.policy, spent):
            spent, named = dict(own.spent), own.spent_by
    party = subject.party
    if party is not None:
        party = replace(party, kind="federation", keys_together=keys, checks_model=checks)
    return replace(subject, spent=spent, spent_by=named or subject.spent_by, party=party)


def _cost(policy: Policy, spent: Mapping[int, int]) -> int:
    """ε of these rounds, by the budget in force: fewer may have spent more, where they had less noise."""
    rule = policy.privacy
    return accounting.spent(spent, rule.delta, rule.epsilon) if rule is not None else 0


def _party(kind: str, home: ClientHome | ServerHome) -> Party:
    return Party(kind=kind, name=home.name, checks_model=home.checks_model, pins_start=home.start_model is not None)


def given(document: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a mapping that are not None: what a caller has said itself."""
    return {name: value for name, value in document.items() if value is not None}
