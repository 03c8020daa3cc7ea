"""Foundry's anvil under the Prague rules: a real node, a process of its own, spoken to over HTTP."""

from __future__ import annotations

import collections
import json
import shutil
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.source_tree import ROOT

INSTALLED = ROOT / "build" / "anvil" / "node_modules" / "@foundry-rs"


def find_anvil() -> str | None:
    """What ``make anvil`` has installed from npm, or one that is on the path."""
    found = sorted(INSTALLED.glob("anvil-*/bin/anvil*"))
    return str(found[0]) if found else shutil.which("anvil")


@contextmanager
def anvil() -> Iterator[str]:
    """A node on a free port of the loopback interface, which it chooses itself; its URL. Skips without anvil."""
    program = find_anvil()
    if program is None:
        pytest.skip("anvil is not installed: run  make anvil  (needs npm)")
    command = [program, "--host", "127.0.0.1", "--port", "0", "--hardfork", "prague"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as node:
        lines = iter(node.stdout or ())
        ready = next((line for line in lines if line.startswith("Listening on ")), "")
        # It logs every request, and would wait for ever once nobody reads that.
        reader = threading.Thread(target=collections.deque, args=(lines, 0))
        reader.start()
        try:
            assert ready, "anvil has ended before it listened"
            yield f"http://{ready.split()[-1]}"
        finally:
            node.terminate()
            reader.join()


def ask(url: str, method: str, *parameters: object) -> None:
    """Have a node do something, without a library."""
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - our own node
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
        assert "error" not in json.load(answer)
