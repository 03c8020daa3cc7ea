"""The page's own checks, run by Node: the worker's script as it lies in the built page, asked by lines of JSON."""

from __future__ import annotations

import base64
import functools
import json
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import pytest

from secure_agg.explorer import PAGE

HARNESS: Final = Path(__file__).with_name("harness.mjs")
LEAST_NODE: Final = 20


class CoreRefused(Exception):
    """What the page's core says of what it refuses."""


@functools.cache
def why_no_node() -> str:
    """Why there is no Node that runs it; empty where there is one."""
    node = shutil.which("node")
    if node is None:
        return "Node.js is not installed"
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    major = int(version.lstrip("v").split(".")[0])
    return "" if major >= LEAST_NODE else f"Node.js {version.strip()} is older than {LEAST_NODE}"


class Core:
    """A Node process with the page's core in it; ``close`` ends it."""

    def __init__(self, page: Path = PAGE) -> None:
        """``page`` is the built page."""
        if reason := why_no_node():
            pytest.skip(reason)
        self._process = subprocess.Popen(
            [shutil.which("node") or "node", "--no-warnings", str(HARNESS), str(page)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def __call__(self, method: str, **arguments: Any) -> Any:
        """What a method returns.

        Raises:
            CoreRefused: it refuses.
        """
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("there is no process")
        line = json.dumps({"method": method, "args": _plain(arguments)})
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline(), object_hook=_revived)
        if "error" in answer:
            if not answer["refused"]:
                raise RuntimeError(answer["error"])
            raise CoreRefused(answer["error"])
        return answer.get("result")

    def verdict(
        self,
        evidence: bytes,
        trust: str | None = None,
        beacon: bytes | None = None,
        claims: Collection[str] | None = None,
        beside: Collection[bytes] = (),
    ) -> bytes | None:
        """The record that evidence proves to it; None where it refuses it."""
        accepted = None if claims is None else list(claims)
        found = self("evidence", evidence=evidence, trust=trust, beacon=beacon, claims=accepted, beside=list(beside))
        record: bytes | None = found["encoding"] if found["good"] else None
        return record

    def convicts(self, proof: bytes, trust: str | None = None) -> str | None:
        """Whom a proof of fault convicts; None where it proves nothing."""
        try:
            culprit: str = self("fault", proof=proof, trust=trust)["culprit"]
        except CoreRefused:
            return None
        return culprit


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, Path):
        return {"$folder": str(value)}
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _revived(value: dict[str, Any]) -> Any:
    for tag in ("$bytes", "$floats"):
        if tag in value:
            return base64.b64decode(value[tag])
    return int(value["$int"]) if "$int" in value else value
