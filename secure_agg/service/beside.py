"""A service beside another server: members answer by it within one message of a framework's.

Who leads the rounds, and how members come to hear of one, is the framework's affair. Here is only the way on: the port,
TLS, signed requests and the post of a service, in a thread of the framework's own process.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final

from secure_agg import extras
from secure_agg.errors import ConfigError
from secure_agg.plugins.core.epochs.server import Epochs
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.identity import Roster
from secure_agg.service import wire
from secure_agg.service.certificate import Certificate, own_certificate
from secure_agg.service.epochs.desk import Desk
from secure_agg.service.gate import Gate, Strangers
from secure_agg.service.interface.app import Interface, Served
from secure_agg.service.monitor import Monitor
from secure_agg.service.post import AWAY_S, Post
from secure_agg.service.rounds import Handed
from secure_agg.service.server import inner_server, started
from secure_agg.transport.entrance import STRANGERS, Entrance

_START_S: Final = 60.0


class _Elsewhere:
    """Rounds that another server makes: members have the model from it."""

    handed: Handed | None = None
    is_well = True


class Beside:
    """A task's post at a port of this process.

    Attributes:
        address: where it listens.
        post: what waits for members.
        rosters: members by epoch, newest first, as of the last ``refresh``.
    """

    def __init__(self, home: ServerHome, listen: str, away_s: float = AWAY_S) -> None:
        """
        Args:
            home: the server's, with whose key it shows that a connection is its own.
            listen: ``HOST:PORT``; port 0 for a free one.
            away_s: see ``post.AWAY_S``.

        Raises:
            ConfigError: the address is not this machine's or in use, or a package of the extra ``service`` is missing.
        """
        extras.require("service")
        wire.address(listen)
        self._home, self._away_s, self.rosters = home, away_s, tuple[Roster, ...]()
        self.refresh()
        ready: Future[tuple[str, Post]] = Future()
        self._over: Callable[[], None] = lambda: None
        self._thread = threading.Thread(
            target=self._run, args=(own_certificate(home), listen, ready), name="secure-agg-beside", daemon=True
        )
        self._thread.start()
        self.address, self.post = ready.result(_START_S)

    def __repr__(self) -> str:
        return f"Beside({self.address!r})"

    def refresh(self) -> None:
        """Look who the members are now, between rounds."""
        self.rosters = tuple(Epochs(self._home).rosters())

    def close(self) -> None:
        """Stop listening; harmless when that was done."""
        self.post.close()
        self._over()
        self._thread.join(_START_S)

    def _run(self, certificate: Certificate, listen: str, ready: Future[tuple[str, Post]]) -> None:
        try:
            asyncio.run(self._serve(certificate, listen, ready))
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    async def _serve(self, certificate: Certificate, listen: str, ready: Future[tuple[str, Post]]) -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        home, post, members = self._home, Post(loop, self._away_s), len(self.rosters[0])
        entrance = Entrance(members, strangers=max(STRANGERS, 2 * members))
        served = Served(
            Gate(home.identity, home.task, lambda: self.rosters, Strangers()), post, _Elsewhere(), Desk(home)
        )
        interface = Interface(
            {wire.place(home.task): served}, certificate.der, Monitor(), entrance.recognise, entrance.whence
        )
        inner = inner_server(interface.app(), entrance.inner.removeprefix("unix:"), certificate)
        running = asyncio.ensure_future(inner._serve())
        try:
            await started(inner)
            host, port = wire.address(listen)
            try:
                port = await entrance.open(host, port)
            except OSError as error:
                raise ConfigError(f"{listen} can't be listened on: {error.strerror or error}") from None

            def end() -> None:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(over.set)

            self._over = end
            ready.set_result((wire.shown(host, port), post))
            await over.wait()
        finally:
            entrance.shut()
            post.close()
            inner.should_exit = True
            await asyncio.gather(running, return_exceptions=True)
            await entrance.close()
