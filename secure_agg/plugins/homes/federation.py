"""A whole federation's homes in one folder, for demonstrations, tests and measurements; and what real ones start from.

All keys but those that members bring are made on this machine, whose owner therefore sees them: it protects nobody from
that owner. In a real federation every party makes its own.

In the folder: ``trust.json`` (what everybody pins), ``server/``, ``clients/<id>/``, and ``operators/<id>/`` for a
backend with operators: what ``secure-agg aggregator serve`` or ``keyholder serve`` takes.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from secure_agg import backends, files
from secure_agg.backends.contract import Backend
from secure_agg.beacon.recorded import BeaconFile
from secure_agg.errors import ConfigError
from secure_agg.fl.layers import MAX_SIGNS
from secure_agg.fl.server_optimizers import PLAIN, ServerOptimizer
from secure_agg.local import keystore
from secure_agg.local.dealing import deal
from secure_agg.local.draws import Draws
from secure_agg.local.staff import AGGREGATOR, Staff, usual_names
from secure_agg.plugins.core.metrics import MetricCodec
from secure_agg.plugins.homes.client import TRUST_FILE, ClientHome
from secure_agg.plugins.homes.folder import check_rules
from secure_agg.plugins.homes.server import (
    BEACON_FILE,
    CERTIFICATE_FILE,
    KEY_FILE,
    PASSPHRASE_FILE,
    PHASE_S,
    Place,
    ServerHome,
    check_apart,
    check_phase_s,
)
from secure_agg.protocol.config import Policy
from secure_agg.protocol.epoch.body import EVALUATION
from secure_agg.protocol.identity import Identity, Roster, check_id
from secure_agg.roles.epochs.floor import Floor
from secure_agg.roles.trust import TaskTrust, Trust
from secure_agg.transport import keyfile
from secure_agg.transport.credentials import OperatorCard, OperatorKeys
from secure_agg.transport.processes import OperatorProcess, Start, operator_processes
from secure_agg.transport.share_holders import share_holder_card

FIRST_PORT: Final = 9401
"""Operators listen from here on, unless ``operators.json`` in the server's home is edited."""
COORDINATOR_FILE: Final = "coordinator.card"
HOLDER_FILE: Final = "holder.key"


def make(
    folder: str | Path,
    clients: Iterable[str],
    policy: Policy,
    *,
    task: str = "default",
    client_keys: Mapping[str, bytes] | None = None,
    parameters: int | None = None,
    checks_model: bool = True,
    start_model: bytes | None = None,
    optimizer: ServerOptimizer = PLAIN,
    weight_key: str | None = None,
    phase_s: float = PHASE_S,
    beacon: BeaconFile | None = None,
    pulses: Sequence[str] = (),
    floor: Floor | None = None,
    witness_age_s: float | None = None,
    start_elements: int | None = None,
) -> Trust:
    """Make the homes of a federation, with keys of their own and each other's pinned.

    Beside ``task`` its evaluation is pinned, under the same policy. Not for a homomorphic backend: a key is for one
    task and one size of model.

    Args:
        folder: not there yet.
        clients: ids of those whose keys are made, and homes with them.
        policy: of the task.
        task: its id.
        client_keys: public keys of further members, by id, who make their homes themselves.
        parameters: elements of the model that are averaged, without the metrics'; for a homomorphic backend only.
        checks_model, start_model, optimizer, weight_key: see ``ClientHome``.
        floor, witness_age_s, start_elements: of all clients' homes that are made, see ``ClientHome``.
        phase_s: see ``ServerHome``.
        beacon: that draws the cohorts, where the policy has them drawn. Its pulses, if it has any, go to the server.
        pulses: see ``ServerHome``.

    Returns:
        What everybody has pinned.

    Raises:
        ConfigError: there is something at ``folder``, an id can't name a folder or is there twice, the policy does
            not fit, or the backend's operators can't be connected to. Or cohorts are drawn without a beacon, or by one
            whose first pulse is there already.
    """
    folder, given = Path(folder), dict(client_keys or {})
    check_rules(checks_model, start_model, optimizer)
    check_phase_s(phase_s)
    members: dict[str, Identity] = {}
    for name in clients:
        if name in members or name in given:
            raise ConfigError(f"client {name!r} is named twice")
        members[name] = Identity.generate(_folder_name(name))
    backend, named = backends.load(policy.backend), usual_names(policy)
    check_apart(backend, policy)
    if folder.exists():
        raise ConfigError(f"{folder} exists already: a key is never overwritten, choose a new folder")
    server = OperatorKeys.generate(AGGREGATOR)
    operators = [OperatorKeys.generate(name, share_holder=backend.shares is not None) for name in named]
    if policy.cohort_size and beacon is None:
        raise ConfigError("the policy draws cohorts: name the beacon that draws them")
    roster = Roster({name: member.public for name, member in members.items()} | given)
    pins = TaskTrust(roster, policy, beacon=beacon.source if beacon else None)
    if beacon is not None:
        beacon.source.check_ahead(time.time())
    pulses = [place if "://" in place else str(Path(place).resolve()) for place in pulses]
    Draws(beacon, pulses).check(policy)
    pinned = Roster({keys.name: keys.identity.public for keys in (server, *operators)})
    trust = Trust(tasks={task: pins}, operators=pinned)  # the ledger's key is added by the ledger
    dealt = _deal(backend, trust, task, operators, parameters)

    with files.new_folder(folder):
        rules: dict[str, Any] = {
            "checks_model": checks_model,
            "start_model": start_model,
            "optimizer": optimizer,
            "weight_key": weight_key,
        }
        with ServerHome.create(
            folder / "server", server.identity, task, phase_s=phase_s, pulses=pulses, **rules
        ) as home:
            if beacon is not None and beacon.pulses:
                beacon.save(home.path / BEACON_FILE)
            home.ledger.pin(task, pins, pinned)
            if not dealt.openers:
                home.ledger.pin(task + EVALUATION, pins, pinned)
            trust = home.trust
            if operators:
                _save_keys(home.path, server)
            if dealt.openers:
                files.create(home.path / CERTIFICATE_FILE, dealt.setup)
            home.place(
                {
                    keys.name: Place(f"127.0.0.1:{FIRST_PORT + number}", share_holder_card(keys).to_bytes())
                    for number, keys in enumerate(operators)
                }
            )
        trust.save(folder / TRUST_FILE)
        for name, member in members.items():
            own = folder / "clients" / name
            rules_of_clients = rules | {
                "floor": floor,
                "witness_age_s": witness_age_s,
                "start_elements": start_elements,
            }
            ClientHome.create(own, member, trust, task, **rules_of_clients).close()
        for keys in operators:
            own = folder / "operators" / keys.name
            own.mkdir(mode=0o700, parents=True)
            words = _save_keys(own, keys)
            trust.save(own / TRUST_FILE)
            files.create(own / COORDINATOR_FILE, server.card().to_bytes())
            if dealt.openers:
                opener = dealt.openers[keys.name]
                keystore.save(
                    own / HOLDER_FILE, opener, backend=backend.name, task=task, holder=keys.name, passphrase=words
                )
                files.create(own / CERTIFICATE_FILE, dealt.setup)
    return trust


def serve_command(own: Path) -> tuple[str, ...]:
    """Arguments of ``secure-agg`` that run the operator whose folder this is, but for where it listens."""
    files = {"trust": TRUST_FILE, "coordinator": COORDINATOR_FILE, "passphrase-file": PASSPHRASE_FILE}
    role = "aggregator"
    if (own / HOLDER_FILE).exists():
        role, files = "keyholder", files | {"key": HOLDER_FILE, "certificate": CERTIFICATE_FILE}
    options = [word for name, file in files.items() for word in (f"--{name}", str(own / file))]
    return (role, "serve", str(own), *options)


@contextmanager
def operators(folder: str | Path) -> Iterator[dict[str, OperatorProcess]]:
    """Run a federation's operators as processes on free ports of this machine, and tell its server where they are.

    Yields:
        The processes by id; none for a backend without operators.

    Raises:
        OperatorLost: one did not start; quotes its log.
    """
    folder = Path(folder)
    with ServerHome.open(folder / "server") as home:
        cards = {name: OperatorCard.from_bytes(place.card) for name, place in home.places().items()}
        owns = {name: folder / "operators" / name for name in cards}
        starts = [Start(card, owns[name], serve_command(owns[name])) for name, card in cards.items()]
        with operator_processes(starts) as running:
            home.place(
                {name: Place(process.endpoint.address, cards[name].to_bytes()) for name, process in running.items()}
            )
            yield running


def _deal(backend: Backend, trust: Trust, task: str, operators: list[OperatorKeys], parameters: int | None) -> Staff:
    """Of a backend with key holders those with their key for the task; nobody for others."""
    if backend.keys is None:
        return Staff()
    if parameters is None:
        raise ConfigError(f"backend {backend.name!r} has a key for one size of model: say how many parameters it has")
    if trust.task(task).policy.groups:
        raise ConfigError(
            f"backend {backend.name!r} has a key for one length of vectors; groups leave that to the model: "
            "take a backend without key holders"
        )
    identities = {keys.name: keys.identity for keys in operators}
    policy = trust.task(task).policy
    more = 0 if policy.privacy else MAX_SIGNS + MetricCodec(policy).size
    return deal(trust, task, parameters + more, identities)


def _save_keys(folder: Path, keys: OperatorKeys) -> str:
    """Keys under a passphrase, which is in a file beside them: without it nobody could start anything unattended."""
    words = secrets.token_urlsafe(24)
    files.create(folder / PASSPHRASE_FILE, words.encode() + b"\n")
    keyfile.save(folder / KEY_FILE, keys, words)
    return words


def _folder_name(name: str) -> str:
    if "/" in check_id(name) or name in (".", ".."):
        raise ConfigError(f"client {name!r} can't name a folder: give its --client-key, and let it make its own home")
    return name
