"""The page's own checks, run by Node or Chromium: the worker's script as it lies in the built page."""

from __future__ import annotations

import base64
import functools
import json
import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from support.explorer.browser import new_page

from secure_agg.explorer import PAGE

HARNESS: Final = Path(__file__).with_name("harness.mjs")
SPELLING: Final = Path(__file__).with_name("spelling.js")
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
    """The page's core, which runs wherever ``ask`` says: one line of JSON in, one out."""

    def __init__(self, ask: Callable[[str], str]) -> None:
        """``ask`` sends a request, and returns the answer."""
        self._ask = ask

    def __call__(self, method: str, **arguments: Any) -> Any:
        """What a method returns.

        Raises:
            CoreRefused: it refuses.
        """
        line = json.dumps({"method": method, "args": _plain(arguments)})
        answer = json.loads(self._ask(line), object_hook=_revived)
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


@contextmanager
def in_node(page: Path = PAGE) -> Iterator[Core]:
    """The core of a built page in a Node process of its own."""
    if reason := why_no_node():
        pytest.skip(reason)
    command = [shutil.which("node") or "node", "--no-warnings", str(HARNESS), str(page)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        stdin, stdout = process.stdin, process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("there is no process")

        def ask(line: str) -> str:
            stdin.write(line.encode() + b"\n")
            stdin.flush()
            return stdout.readline().decode()

        yield Core(ask)  # leaving the block closes the pipes, and the process ends


def in_tab(tab: Any, page: Path = PAGE) -> Core:
    """The same in a worker of the page itself, opened as a file in a browser's tab."""
    tab.goto(page.as_uri())
    tab.evaluate(SPELLING.read_text("utf-8"))
    tab.evaluate(_IN_A_WORKER)
    return Core(lambda line: str(tab.evaluate("line => globalThis.ask(line)", line)))


@contextmanager
def in_chromium(running: Any, page: Path = PAGE) -> Iterator[Core]:
    """In a tab of a Chromium that runs."""
    tab = new_page(running)
    try:
        yield in_tab(tab, page)
    finally:
        tab.context.close()


_IN_A_WORKER: Final = """() => {
    const source = document.getElementById("core").textContent;
    const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    const { plain, revive } = globalThis.spelling;
    let answered;
    worker.onmessage = ({ data }) => { if (!("progress" in data)) answered(JSON.stringify(plain(data))); };
    globalThis.ask = (line) => new Promise((resolve) => {
        answered = resolve;
        worker.postMessage({ id: 1, ...JSON.parse(line, revive) });
    });
}"""


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
