"""A log in memory for tests, with as many histories as a liar needs, and the command as a process."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.records.hand_made import make_record

from secure_agg.ledger.database import NewLeaf
from secure_agg.ledger.log import Ledger
from secure_agg.ledger.witness.witness import AddCheckpoint
from secure_agg.protocol.identity import Identity
from secure_agg.tlog.checkpoint import Checkpoint
from secure_agg.tlog.note import Note, SignatureLine, VerifierKey
from zk import merkle

ORIGIN = "example.org/log"


def seed(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def sign_text(identity: Identity, name: str, text: str) -> SignatureLine:
    """The signature line of an Ed25519 key on a note text.

    Args:
        identity: holds the key; its own name is not used.
        name: the key's name in notes.
        text: ends with a newline.

    Raises:
        ConfigError: the name can't be a key's.
    """
    return VerifierKey(name, identity.public).line(identity.sign(text.encode()))


class Log:
    """Leaf i is the text ``i``, and from ``fork_at`` on another. All logs of one name have one key."""

    def __init__(self, origin: str = ORIGIN, fork_at: int | None = None) -> None:
        self.identity = Identity("log", seed(origin))
        self.key = VerifierKey(origin, self.identity.public)
        self._fork_at = fork_at

    def leaf(self, index: int) -> bytes:
        forked = self._fork_at is not None and index >= self._fork_at
        return f"{index}{' forked' if forked else ''}".encode()

    def node(self, level: int, index: int) -> bytes:
        begin = index << level
        return merkle.root([self.leaf(i) for i in range(begin, begin + (1 << level))])

    def root(self, size: int) -> bytes:
        return merkle.root([self.leaf(i) for i in range(size)])

    def checkpoint(self, size: int) -> Checkpoint:
        return Checkpoint(self.key.name, size, self.root(size))

    def note(self, size: int) -> Note:
        return self.sign(self.checkpoint(size).text)

    def sign(self, text: str) -> Note:
        return Note(text, (sign_text(self.identity, self.key.name, text),))

    def proof(self, old: int, new: int) -> tuple[bytes, ...]:
        return merkle.consistency_proof(old, new, self.node)

    def request(self, old: int, new: int) -> bytes:
        return AddCheckpoint(old, self.proof(old, new), self.note(new).to_bytes()).to_bytes()


def fill(ledger: Ledger, count: int, text: str = "") -> None:
    """Append hand-made records of one task in one go, without evidence; ``text`` makes them other ones."""
    previous, leaves = ledger.last("task"), []
    for _ in range(count):
        round = previous.round + 1 if previous else 0
        previous = make_record(round, previous, result_model=seed(f"model {round}{text}"), commitment_sum=bytes(64))
        leaves.append(NewLeaf("task", round, previous.to_bytes()))
    append(ledger, *leaves)


def append(ledger: Ledger, *leaves: NewLeaf) -> None:
    """Append anything, as an operator could who has the log's key."""
    if leaves:
        with ledger._database.exclusive():
            ledger._database.append(leaves, ledger._sign, ledger._approve)


@contextmanager
def process(*arguments: object, module: str = "secure_agg") -> Iterator[subprocess.Popen[str]]:
    """A Python module as a process of its own; killed at the end if it still runs."""
    command = [sys.executable, "-u", "-m", module, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()
            child.communicate()


@contextmanager
def witness(folder: Path, *logs: VerifierKey, name: str = "witness.example") -> Iterator[tuple[Any, Any]]:
    """``secure-agg ledger witness`` and what it says when it is ready."""
    identity = folder / f"{name}.key"
    if not identity.exists():
        Identity(name, seed(name)).save(identity)
    options: list[object] = [part for log in logs for part in ("--log", log)]
    state = folder / f"{name}.state"
    with process(
        "ledger", "witness", "--identity", identity, "--name", name, "--state", state, "--json", *options
    ) as p:
        assert p.stdout is not None
        lines = []
        while not lines or lines[-1] not in ("}\n", ""):
            lines.append(p.stdout.readline())
        assert lines[-1], p.stderr.read() if p.stderr else ""
        yield p, json.loads("".join(lines))
