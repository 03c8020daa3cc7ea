"""Three regions with four hospitals each, and a national centre over them, as processes of their own on this machine.

    python regions.py run FOLDER [--rounds N] [--lose REGION]

Each region's process leads its hospitals' round and takes part with their sum in the centre's. The centre learns the
nation's mean and no region's; a region its own sum; nobody a hospital's update. What goes between the processes are
messages that the roles have made and will check: the sockets add nothing that is trusted.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from multiprocessing import connection as sockets
from multiprocessing.connection import Connection, Listener
from pathlib import Path

import numpy as np

import secure_agg
from secure_agg import AttemptStore, Evidence, Ledger, Policy, Roster, TaskTrust, TreeEvidence, TreeTrust, Trust
from secure_agg.local.rounds import LocalRound
from secure_agg.protocol.codec import model_digest
from secure_agg.protocol.config.tree import EDGE, TOP, edge_task, policy_on
from secure_agg.protocol.evidence import RoundRecord
from secure_agg.protocol.identity import KeyDirectory
from secure_agg.protocol.messages import ADVERTISE, Envelope, encode
from secure_agg.roles.driver import Answer, drive
from secure_agg.roles.task import Task
from secure_agg.roles.tree.edge import EdgeAggregator
from secure_agg.roles.tree.member import EdgeClient
from secure_agg.roles.tree.operator import EdgeOperator
from secure_agg.roles.tree.top import TreeTop

TASK = "readmission"
REGIONS = {region: [f"{region}-{i}" for i in range(1, 5)] for region in ("north", "south", "west")}
HOSPITALS = [hospital for members in REGIONS.values() for hospital in members]
CENTRE = "centre"
FEATURES, PATIENTS, STEP = 8, 60, 0.5
TRUTH = np.linspace(-1, 1, FEATURES)
PATIENCE_S = 60.0
MOST_BYTES = 1 << 26


def loss_and_update(hospital: str, model: np.ndarray) -> tuple[float, np.ndarray]:
    """One step of gradient descent on a hospital's own patients."""
    rng = np.random.default_rng(HOSPITALS.index(hospital))
    x = rng.normal(size=(PATIENTS, FEATURES))
    residual = x @ model - (x @ TRUTH + rng.normal(scale=0.1, size=PATIENTS))
    return float(np.mean(residual**2)), (-STEP * x.T @ residual / PATIENTS)


def say(text: object) -> None:
    """One line, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


# --- what everybody pins --------------------------------------------------------------------------------------------


def prepare(folder: Path) -> None:
    """Keys, each in its owner's folder, and one trust file that all of them pin."""
    keys = {name: KeyDirectory(folder / name / "keys").get("own", name) for name in (CENTRE, *REGIONS, *HOSPITALS)}

    def roster(names: Sequence[str]) -> Roster:
        return Roster({name: keys[name].public for name in names})

    flat = Policy.default(len(HOSPITALS), clip=4.0, bits=20)
    tasks = {TASK: TaskTrust(roster(list(REGIONS)), policy_on(flat, TOP, len(REGIONS), min_clients=2))}
    for region, members in REGIONS.items():
        tasks[edge_task(TASK, region)] = TaskTrust(roster(members), policy_on(flat, EDGE, len(members), min_clients=3))
    with Ledger(folder / CENTRE / "rounds.db") as ledger:
        for task, pins in tasks.items():
            ledger.pin(task, pins, roster([CENTRE]))
        TreeTrust(ledger.trust, TASK)
        ledger.trust.save(folder / "trust.json")


def pinned(folder: Path) -> TreeTrust:
    return TreeTrust(Trust.load(folder / "trust.json"), TASK)


def own_key(folder: Path, name: str) -> secure_agg.Identity:
    return KeyDirectory(folder / name / "keys").get("own", name)


# --- a region ---------------------------------------------------------------------------------------------------------


def region(folder: Path, name: str, port: int, rounds: int, lost: bool) -> None:
    """Lead the region's hospitals, and take part with their sum."""
    tree, identity = pinned(folder), own_key(folder, name)
    stores = {who: AttemptStore(folder / who / "attempts.db") for who in (name, *REGIONS[name])}
    model, last = np.zeros(FEATURES), None
    with sockets.Client(("127.0.0.1", port)) as centre:
        centre.send_bytes(name.encode())
        for _ in range(rounds):
            config = Task(edge_task(TASK, name), tree.edge(name), last).next_round(
                ((FEATURES,),), base_model=model_digest([model])
            )
            edge = EdgeAggregator(identity, config, Roster(tree.members(name)))
            members = {who: EdgeClient(own_key(folder, who), tree, name, store=stores[who]) for who in REGIONS[name]}
            updates = {who: [loss_and_update(who, model)[1]] for who in members}
            local = LocalRound(edge, members, updates)
            above = EdgeOperator(identity, tree, store=stores[name])

            local.exchange(edge.start())
            centre.send_bytes(above.enrol(edge.enrol(), config.round, config.attempt))
            edge.plant(centre.recv_bytes(MOST_BYTES))  # the forest: from here on commitments are shown
            requests = edge.advance()
            while requests:
                local.exchange(requests)
                requests = edge.advance()
            for result in edge.results():
                edge.vouch(members[result.recipient].vouch(result.data))
            if lost:
                return  # a region that is gone before it has sealed anything is missing from the sum
            centre.send_bytes(above.seal(finished(edge), edge.vouched()))
            data = take_part(centre, above)
            count = len(TreeEvidence.from_bytes(data).edges)
            # Three regions are few: a hospital takes nobody's word for any of them, and checks all down to the clients.
            edges = [Evidence.from_bytes(centre.recv_bytes(MOST_BYTES)) for _ in range(count)]
            verified = {who: member.conclude(data, edges=edges) for who, member in members.items()}
            found = verified[REGIONS[name][0]]
            model, last = model + found.average[0], found.record
            losses = [loss_and_update(who, model)[0] for who in members]
            say(f"{name}: round {last.round}, {found.tree_text}; loss {np.mean(losses):.4f}")


def finished(edge: EdgeAggregator) -> Evidence:
    if edge.evidence is None:
        raise RuntimeError("the region's round has come to nothing")
    return edge.evidence


def take_part(centre: Connection, above: EdgeOperator) -> bytes:
    """Answer the centre's requests until it sends the tree's evidence; show the record as soon as it is time."""
    roll = centre.recv_bytes(MOST_BYTES)
    centre.send_bytes(above.enter(centre.recv_bytes(MOST_BYTES), roll))
    shown = False
    while not TreeEvidence.is_one(data := centre.recv_bytes(MOST_BYTES)):
        answer = above.receive(data)
        if answer is None:
            continue  # a receipt
        if not shown:
            centre.send_bytes(above.unseal())
            shown = True
        centre.send_bytes(answer)
    return data


# --- the centre -------------------------------------------------------------------------------------------------------


class Regions:
    """The centre's connections, as the carrier of a round: see ``secure_agg.roles.driver.Carrier``."""

    def __init__(self, connections: dict[str, Connection], top: TreeTop) -> None:
        self.connections, self.top = connections, top

    def receive(self, name: str) -> bytes | None:
        """The next message of a region; None once it is gone or silent, which is for good."""
        connection = self.connections.get(name)
        try:
            if connection is not None and connection.poll(PATIENCE_S):
                return connection.recv_bytes(MOST_BYTES)
        except (EOFError, OSError):
            pass
        self.connections.pop(name, None)
        return None

    def send(self, name: str, data: bytes) -> None:
        try:
            self.connections[name].send_bytes(data)
        except (KeyError, OSError):
            self.connections.pop(name, None)

    def begin(self, phase: str) -> None:
        """Nothing has to be made ready."""

    def ask(self, phase: str, requests: Sequence[Envelope]) -> Iterator[Answer]:
        for request in requests:
            self.send(request.recipient, request.data)
        for request in requests:
            name = request.recipient
            if phase != ADVERTISE and name not in self.top.unsealed and (shown := self.receive(name)) is not None:
                self.top.unseal(shown)
            if (answer := self.receive(name)) is not None:
                yield Answer(name, answer)

    def give(self, client: str, receipt: bytes) -> None:
        self.send(client, receipt)

    def refuse(self, client: str, error: Exception) -> None:
        say(f"{CENTRE}: refused {client}: {error}")
        self.connections.pop(client, None)

    def miss(self, operator: str, error: Exception) -> None:
        raise error


def centre(folder: Path, rounds: int) -> None:
    """Lead the rounds over the regions, and keep the ledger."""
    identity, last = own_key(folder, CENTRE), None
    model = np.zeros(FEATURES)
    with Listener(("127.0.0.1", 0)) as listener, Ledger(folder / CENTRE / "rounds.db") as ledger:
        say(listener.address[1])
        tree, connections = TreeTrust(ledger.trust, TASK), {}
        for _ in REGIONS:
            connection = listener.accept()
            connections[connection.recv_bytes(128).decode()] = connection
        for _ in range(rounds):
            last = one_round(identity, tree, ledger, connections, model, last)
            found, _ = ledger.tree(last)
            model = model + secure_agg.verify_tree(found, trust=tree).average[0]


def one_round(
    identity: secure_agg.Identity,
    tree: TreeTrust,
    ledger: Ledger,
    connections: dict[str, Connection],
    model: np.ndarray,
    last: RoundRecord | None,
) -> RoundRecord:
    config = Task(TASK, tree.top, last).next_round(((FEATURES,),), base_model=model_digest([model]))
    top = TreeTop(identity, tree, config)
    regions = Regions(connections, top)
    for name in list(connections):
        if (entry := regions.receive(name)) is not None:
            top.enrol(entry)
    forest = top.forest()
    for name in list(connections):
        regions.send(name, forest)
    for name in list(connections):
        if (seal := regions.receive(name)) is not None:
            top.seal(seal)
    aggregator, roll = top.open()
    for name in list(connections):
        regions.send(name, encode(roll))
    drive(aggregator, regions, {})
    found = top.tree
    if found is None:
        raise RuntimeError("the round has come to nothing")
    ledger.append_tree(found, [top.edges[name] for name in found.edges])
    for name in list(connections):
        for data in (found, *(top.edges[edge] for edge in found.edges)):
            regions.send(name, data.to_bytes())
    record = ledger.last(TASK)
    if record is None:
        raise RuntimeError("the ledger is empty")
    say(f"{CENTRE}: round {record.round}: {record.participants} hospitals in {len(found.edges)} regions")
    return record


# --- all of it --------------------------------------------------------------------------------------------------------


def run(folder: Path, rounds: int, lose: str | None) -> int:
    """Keys and pins, one process for the centre and one for each region; returns 0 if all that stay end well."""
    folder.mkdir(parents=True)
    prepare(folder)
    me = [sys.executable, str(Path(__file__).resolve())]
    shared = ["--rounds", str(rounds)]
    lead = subprocess.Popen(  # noqa: S603 - this very script
        [*me, "centre", str(folder), *shared], stdout=subprocess.PIPE, text=True
    )
    if lead.stdout is None:
        raise RuntimeError("the centre has no output")
    port = lead.stdout.readline().strip()
    others = [
        subprocess.Popen(  # noqa: S603
            [*me, "region", str(folder), *shared, "--name", name, "--port", port, *(["--lost"] if name == lose else [])]
        )
        for name in REGIONS
    ]
    try:
        for line in lead.stdout:
            say(line.rstrip())
        return max(process.wait(PATIENCE_S) for process in (lead, *others))
    finally:
        for process in (lead, *others):
            if process.poll() is None:
                process.kill()
                process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("run", "centre", "region"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--lose", choices=list(REGIONS), help="a region whose process ends before it has sealed its sum"
    )
    parser.add_argument("--name", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--lost", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.what == "run":
        return run(given.folder, given.rounds, given.lose)
    if given.what == "centre":
        centre(given.folder, given.rounds)
    else:
        region(given.folder, given.name, given.port, given.rounds, given.lost)
    return 0


if __name__ == "__main__":
    sys.exit(main())
