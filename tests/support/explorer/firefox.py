"""A headless Firefox of this machine, driven by WebDriver BiDi over its own websocket: no driver beside it."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import pytest
from support.explorer.browser import MILLISECONDS

_LISTENS: Final = re.compile(r"WebDriver BiDi listening on (ws://\S+)")
# The rules for files that its owners have, and not those that a driven Firefox gets.
_PREFERENCES: Final = 'user_pref("security.fileuri.strict_origin_policy", true);\n'
_PATIENCE_S: Final = MILLISECONDS / 1000


class FirefoxError(Exception):
    """What Firefox says of a command that it refuses, or that did not end."""


@functools.cache
def why_no_firefox() -> str:
    """Why there is none; empty where there is one."""
    if firefox() is None:
        return "Firefox is not installed"
    return "" if importlib.util.find_spec("websockets") else "the package websockets is not installed"


def firefox() -> str | None:
    """The machine's own; none is ever downloaded."""
    return shutil.which("firefox-esr") or shutil.which("firefox")


class FirefoxTab:
    """A page: as much of playwright's as these tests use."""

    def __init__(self, socket: Any) -> None:
        """``socket`` is a session's."""
        self._socket, self._ids = socket, itertools.count(1)
        self._command("session.new", capabilities={})
        self._context = self._command("browsingContext.create", type="tab")["context"]

    def goto(self, url: str) -> None:
        """Load a page."""
        self._command("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def evaluate(self, source: str, argument: str | None = None) -> str | bool | float | None:
        """What a script, or a function of the argument, comes to: a text, a number, or nothing."""
        code = f"({source})({json.dumps(argument)})" if re.match(r"(\(\)|\w+) =>", source) else source
        target = {"context": self._context}
        found = self._command("script.evaluate", expression=code, target=target, awaitPromise=True)
        if found["type"] != "success":
            raise FirefoxError(found["exceptionDetails"]["text"])
        value: str | bool | float | None = found["result"].get("value")
        return value

    def resize(self, width: int, height: int) -> None:
        """Make the page so large, in its own pixels."""
        size = {"width": width, "height": height}
        self._command("browsingContext.setViewport", context=self._context, viewport=size)

    def standing(self) -> str:
        """What the page has come to, once nothing is being checked any more."""
        end = time.monotonic() + _PATIENCE_S
        while time.monotonic() < end:
            found = self.evaluate("new Promise((done) => setTimeout(() => done(document.body.dataset.standing), 50))")
            if found in ("passed", "failed", "unknown"):
                return str(found)
        raise FirefoxError(f"it stands at nothing after {_PATIENCE_S} s")

    def _command(self, method: str, **parameters: Any) -> Any:
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv(timeout=_PATIENCE_S))
            if answer.get("id") != number:
                continue  # an event
            if answer["type"] == "error":
                raise FirefoxError(f"{method}: {answer['error']}: {answer['message']}")
            return answer["result"]


@contextmanager
def firefox_tab() -> Iterator[FirefoxTab]:
    """A Firefox of its own, with one page."""
    if reason := why_no_firefox():
        pytest.skip(reason)
    from websockets.sync.client import connect

    with TemporaryDirectory(prefix="firefox-") as profile:
        (Path(profile) / "user.js").write_text(_PREFERENCES, "utf-8")
        command = [firefox() or "firefox", "--headless", "--no-remote", "--profile", profile]
        command += ["--remote-debugging-port", "0"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            if process.stderr is None:
                raise RuntimeError("there is no process")
            try:
                address = next(filter(None, (_LISTENS.search(line) for line in process.stderr)), None)
                if address is None:
                    raise FirefoxError("it ended before it listened")
                # What it says later would fill the pipe, and stop it.
                threading.Thread(target=process.stderr.read, daemon=True).start()
                with connect(f"{address.group(1)}/session", max_size=None, open_timeout=_PATIENCE_S) as socket:
                    yield FirefoxTab(socket)
            finally:
                process.terminate()
                process.wait(_PATIENCE_S)
