"""A ledger to be crashed, the rounds to append to it, and what has to hold afterwards."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import secure_agg
from secure_agg.ledger.fsck.fsck import fsck
from secure_agg.ledger.fsck.report import Kind
from secure_agg.ledger.log import Ledger
from secure_agg.protocol.evidence import Evidence
from zk import merkle

HERE = Path(__file__).parent
TASKS = ("left", "right")
ROUNDS = 9
NAME = "rounds.db"
KILL, TORN, SHORT = -1, -2, -3


@dataclass
class World:
    """A template ledger with two rounds of each task, and the files of the evidence of all rounds.

    After a crash the other task's next round is appended: it gives a tree of the same size another root, so that a head
    which was signed too early would be contradicted.
    """

    template: Path
    files: dict[str, list[Path]]

    @staticmethod
    def make(folder: Path) -> World:
        source = folder / "source" / NAME
        source.parent.mkdir()
        updates = {name: [np.arange(3.0)] for name in ("ann", "bob", "cyd")}
        files: dict[str, list[Path]] = {}
        for task in TASKS:
            for round in range(ROUNDS):
                result = secure_agg.aggregate(updates, backend="plain", ledger=source, task=task)
                file = folder / f"{task}-{round}"
                file.write_bytes(result.evidence.to_bytes())
                files.setdefault(task, []).append(file)
        template = folder / "template"
        template.mkdir()
        shutil.copytree(f"{source}.keys", template / f"{NAME}.keys")
        with Ledger(source, read_only=True) as finished, Ledger(template / NAME) as ledger:
            for task in TASKS:
                ledger.pin(task, finished.trust.task(task), finished.trust.operators)
                for file in files[task][:2]:
                    ledger.append(Evidence.from_bytes(file.read_bytes()))
        return World(template, files)

    def case(self, folder: Path) -> Case:
        """A fresh copy of the template."""
        shutil.copytree(self.template, folder)
        return Case(self, folder)


@dataclass
class Case:
    """One ledger that is written to, crashed and examined, perhaps several times.

    Attributes:
        acknowledged: evidence digests by index, as ``append`` has returned them.
        signed: every root of a size that the log's key has signed, by anyone's account.
    """

    world: World
    root: Path
    acknowledged: dict[int, bytes] = field(default_factory=dict)
    signed: dict[int, set[bytes]] = field(default_factory=dict)

    @property
    def ledger(self) -> Path:
        return self.root / NAME

    def next(self, task: str) -> Path | None:
        """The evidence of the task's next round; None when there are no more."""
        with Ledger(self.ledger, read_only=True) as ledger:
            last = ledger.last(task)
        number = last.round + 1 if last else 0
        return self.world.files[task][number] if number < ROUNDS else None

    def take(self, lines: Sequence[str]) -> None:
        """Note what a writer said."""
        for line in lines:
            verb, *words = line.split()
            if verb == "signed":
                self.note(int(words[0]), bytes.fromhex(words[1]))
            elif verb == "appended":
                self.acknowledged[int(words[0])] = bytes.fromhex(words[1])
                self.note(int(words[2]), bytes.fromhex(words[3]))

    def note(self, size: int, root: bytes) -> None:
        self.signed.setdefault(size, set()).add(root)

    def check(self, task: str) -> None:
        """What must hold after any crash; then the task's next round is appended."""
        report = fsck(self.ledger)
        assert all(finding.kind is Kind.NOTE for finding in report.findings), report.findings
        with Ledger(self.ledger) as ledger:
            self.check_content(ledger)
            file = self.next(task)
            if file is not None:
                evidence = Evidence.from_bytes(file.read_bytes())
                receipt = ledger.append(evidence).receipt
                receipt.verify(ledger.record(receipt.index).to_bytes(), ledger.verifier_key)
                self.acknowledged[receipt.index] = evidence.digest()
            self.check_content(ledger)
        assert fsck(self.ledger, repair=True).sound
        rest = [finding for finding in fsck(self.ledger).findings if "no record names" not in finding.what]
        assert rest == []

    def check_content(self, ledger: Ledger) -> None:
        """Nothing acknowledged is lost, every head is signed and over its records, and no size has two roots."""
        records = list(ledger.records())
        for index, digest in self.acknowledged.items():
            assert records[index].evidence == digest, f"record {index} was acknowledged"
        frontier = merkle.Frontier()
        for size in range(len(records) + 1):
            head = ledger.head_at(size)
            head.verify(ledger.log_public)
            assert head.root == frontier.root()
            self.note(size, head.root)
            if size < len(records):
                frontier.push(merkle.leaf_hash(records[size].to_bytes()))
                assert ledger.evidence(records[size]).digest() == records[size].evidence
        twice = {size: roots for size, roots in self.signed.items() if len(roots) > 1}
        assert twice == {}, "two roots of one size were signed"


class Writer:
    """The process under the shim."""

    def __init__(self, folder: Path, warm: Path) -> None:
        """Raises ``OSError`` where there is no compiler."""
        library = folder / "shim.so"
        compile_shim = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(HERE / "shim.c"), "-ldl", "-lpthread"]
        subprocess.run(compile_shim, check=True)
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "writer.py"), str(warm)],
            env=os.environ | {"LD_PRELOAD": str(library), "CRASH_ROOT": "/nowhere"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == "ready"

    def close(self) -> None:
        self._process.communicate()

    def run(
        self, case: Case, steps: Sequence[str], *, log: Path | None = None, delay: float | None = None
    ) -> tuple[list[str], int]:
        """Play steps in a child; returns what it said, and its wait status.

        Args:
            case: the ledger.
            steps: see writer.py.
            log: where the shim writes the calls down.
            delay: kill the child after so many seconds, from its first line on.
        """
        command = {"root": str(case.root), "ledger": str(case.ledger), "steps": list(steps), "log": log and str(log)}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        lines: list[str] = []
        timer: threading.Thread | None = None
        while not (line := self._line()).startswith("end "):
            if line.startswith("started "):
                if delay is not None:
                    timer = _kill_after(int(line.split()[1]), delay)
            else:
                lines.append(line)
        if timer is not None:
            timer.join()
        case.take(lines)
        status = int(line.split()[1])
        assert status in (0, signal.SIGKILL), f"the writer failed by itself: {lines}"
        return lines, status

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the writer is gone"
        return line.rstrip("\n")


def _kill_after(process: int, seconds: float) -> threading.Thread | None:
    """Kill this very process, and none that later has its number."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return None  # it is done already

    def kill() -> None:
        done, _, _ = select.select([descriptor], [], [], seconds)  # readable when it has ended
        if not done:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        os.close(descriptor)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread
