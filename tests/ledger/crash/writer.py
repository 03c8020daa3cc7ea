"""The process that is killed: it starts once, under the shim, and forks a child for every case.

Reads one JSON object a line: ``root`` (of this case's ledger), ``ledger``, ``steps``, and ``log`` (for the shim) or
null. Writes lines: what the child did, then ``end STATUS``, the child's wait status.

Steps: ``open``; ``append FILE…`` and ``batch FILE…`` (evidence); ``close``; ``small`` (merge the write-ahead log after
every commit); ``arm AT ACTION`` (see shim.c); ``count`` (say how many calls there were since).
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from pathlib import Path

from secure_agg.errors import SecureAggError
from secure_agg.ledger.log import Ledger
from secure_agg.protocol.evidence import Evidence
from secure_agg.roles.auditor import Auditor
from secure_agg.tlog.head import SignedHead
from secure_agg.tlog.receipt import Receipt

SHIM = ctypes.CDLL(None)
_sign = Ledger._sign


def say(line: str) -> None:
    """To the test, and to the shim's log, where it stands between the calls."""
    SHIM.crash_note(line.encode())
    os.write(1, line.encode() + b"\n")


def sign(self: Ledger, size: int, root: bytes) -> SignedHead:
    """What the log's key signs is said before anybody can have it."""
    head = _sign(self, size, root)
    say(f"signed {size} {root.hex()}")
    return head


def acknowledge(receipt: Receipt, evidence: Evidence) -> None:
    """What a caller may rely on from now on."""
    say(f"appended {receipt.index} {evidence.digest().hex()} {receipt.checkpoint.size} {receipt.checkpoint.root.hex()}")


def play(steps: list[str], path: str) -> None:
    ledger: Ledger | None = None
    for step in steps:
        verb, *words = step.split()
        if verb == "arm":
            SHIM.crash_arm(ctypes.c_long(int(words[0])), int(words[1]))
        elif verb == "count":
            say(f"count {SHIM.crash_count()}")
        elif verb == "open":
            ledger = Ledger(path)
        elif ledger is None:
            raise ValueError(f"{verb} before open")
        elif verb == "close":
            ledger.close()
        elif verb == "small":
            ledger._database.change("PRAGMA wal_autocheckpoint = 1")
        else:
            rounds = [Evidence.from_bytes(Path(word).read_bytes()) for word in words]
            entered = ledger.append_all(rounds) if verb == "batch" else [ledger.append(each) for each in rounds]
            for appended, evidence in zip(entered, rounds, strict=True):
                acknowledge(appended.receipt, evidence)


def child(command: dict[str, str | list[str] | None]) -> None:
    os.environ["CRASH_ROOT"] = str(command["root"])
    if command["log"]:
        SHIM.crash_log(str(command["log"]).encode())
    steps = command["steps"]
    assert isinstance(steps, list)
    try:
        play(steps, str(command["ledger"]))
    except SecureAggError as error:
        say(f"error {type(error).__name__} {error}".replace("\n", " "))
    SHIM.crash_arm(ctypes.c_long(0), 0)


def main() -> None:
    Ledger._sign = sign  # type: ignore[method-assign]
    Auditor().verify(Evidence.from_bytes(Path(sys.argv[1]).read_bytes()))  # children inherit what is compiled
    os.write(1, b"ready\n")
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            code = 99
            try:
                child(json.loads(line))
                code = 0
            finally:
                os._exit(code)  # as if killed: the ledger is not closed unless a step has done it
        os.write(1, f"started {process}\n".encode())
        os.write(1, f"end {os.waitpid(process, 0)[1]}\n".encode())


if __name__ == "__main__":
    main()
