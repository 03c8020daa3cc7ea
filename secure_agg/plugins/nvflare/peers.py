"""The server's way to its nodes: one auxiliary message to each at once, each in a thread of its own."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from nvflare.apis.shareable import Shareable

from secure_agg.errors import DuplicateMessage
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.coordinator import Coordinator
from secure_agg.plugins.core.phases import Late, Payload, answer_limit, one_line
from secure_agg.plugins.core.server.deadlines import TIMES
from secure_agg.plugins.nvflare import wire

_log = logging.getLogger("secure_agg.plugins")

Answer = tuple[str, bytes | Exception]

ACQUAINTANCE_S: Final = 60.0
"""How long nodes have to say who they are in a job's first round: its processes take some seconds to be reachable."""
_SHORT_S: Final = 2.0
"""How long a message may take that a node has nothing to do for."""
_AT_ONCE: Final = 4
"""How many payloads as large as the model are under way at once, whatever the number of nodes."""
_AGAIN_S: Final = 0.5
_LEAST_S: Final = 0.1
"""A timeout of 0 would mean that no answer is awaited."""


class Peers:
    """The nodes of one job, by the ids that they have proved to have in the roster."""

    def __init__(self, engine: Any, coordinator: Coordinator) -> None:
        self._engine, self._coordinator = engine, coordinator
        self._sites: dict[str, str] = {}
        self._slots = threading.Semaphore(_AT_ONCE)
        self._patience_s, self._slowest_s = ACQUAINTANCE_S, 0.0

    def site(self, name: str) -> str | None:
        """NVFlare's name of a member's site, if it has answered who it is."""
        return self._sites.get(name)

    def member(self, site: str) -> str | None:
        """The roster id of a site, if it has answered who it is."""
        return next((name for name, known in self._sites.items() if known == site), None)

    @property
    def members(self) -> Sequence[str]:
        """Roster ids of all that have answered who they are."""
        return sorted(self._sites)

    def identify(self, sites: Sequence[str]) -> None:
        """Ask sites that have not said yet who they are; those that can't say it take no part."""
        challenge = self._coordinator.challenge()
        strangers = [site for site in sites if self.member(site) is None]
        patience = max(self._patience_s, TIMES * self._slowest_s)
        self._patience_s = _SHORT_S
        for site, answer in self._each(strangers, lambda site: self._meet(site, challenge, patience), patience):
            try:
                if isinstance(answer, Exception):
                    raise answer
                name = self._coordinator.identify(answer)
                if name in self._sites:
                    raise DuplicateMessage(f"site {self._sites[name]!r} has answered for {name!r} too", culprit=name)
            except Exception as error:
                _log.warning("site %s has not shown who it is: %s: %s", site, type(error).__name__, one_line(error))
                continue
            self._sites[name] = site
            _log.info("site %s is %s", site, name)

    def ask(self, kind: str, requests: Sequence[tuple[str, Payload]], deadline_s: float) -> Iterator[Answer]:
        """Send each member its payload and yield the answers as they come, see ``coordinator.Ask``."""
        make = dict(requests)

        def exchange(name: str) -> bytes:
            site = self.site(name)
            if site is None:
                raise wire.Refused(f"no site is {name!r}", culprit=name)
            if kind == parcels.STEP:  # the answer may be as large as the model
                return self._exchange(site, kind, make[name], deadline_s, self._slots)
            with self._slots:  # the payload may
                return self._exchange(site, kind, make[name], deadline_s, nullcontext())

        return self._each([name for name, _ in requests], exchange, deadline_s)

    def why(self, site: str, refusal: wire.Refused) -> wire.Refused:
        """A site's refusal of a task with the name of its error, which NVFlare's own code leaves out."""
        try:
            wire.check_reply(self._send(site, wire.WHY, Shareable(), _SHORT_S), site)
        except wire.Refused as named:
            return named if named.error else refusal
        return refusal

    def unreachable(self, sites: Sequence[str]) -> set[str]:
        """Which of these sites are gone; one that is too busy to answer is not."""

        def probe(site: str) -> bytes:
            wire.check_reply(self._send(site, wire.ALIVE, Shareable(), _SHORT_S), site)
            return b""

        answers = self._each(sites, probe, _SHORT_S)
        return {site for site, answer in answers if isinstance(answer, wire.Unreachable)}

    def _meet(self, site: str, challenge: bytes, patience_s: float) -> bytes:
        end, timeout_s = time.monotonic() + patience_s, _SHORT_S
        while True:
            started = time.monotonic()
            try:  # what comes while a process starts may get lost without a word
                answer = self._exchange(site, parcels.HELLO, Payload(lambda: challenge), timeout_s, nullcontext())
            except wire.Refused as refused:
                if refused.error or time.monotonic() + _AGAIN_S > end:
                    raise
                time.sleep(_AGAIN_S)
                timeout_s = min(2 * timeout_s, max(_SHORT_S, end - time.monotonic()))  # it may be there, and slow
            else:
                took = time.monotonic() - started
                self._slowest_s = max(self._slowest_s, took)
                self._coordinator.deadlines.took(took)
                return answer

    def _exchange(
        self, site: str, kind: str, make: Payload, timeout_s: float, slot: AbstractContextManager[object]
    ) -> bytes:
        end = time.monotonic() + timeout_s

        def send(message: Shareable) -> Any:
            return self._send(site, wire.TOPIC, message, max(_LEAST_S, end - time.monotonic()))

        return wire.call(send, site, kind, make(), slot, answer_limit(make))

    def _send(self, site: str, topic: str, message: Shareable, timeout_s: float) -> Any:
        with self._engine.new_context() as fl_ctx:
            replies = self._engine.send_aux_request(
                targets=[site], topic=topic, request=message, timeout=timeout_s, fl_ctx=fl_ctx, optional=True
            )
        return (replies or {}).get(site)

    @staticmethod
    def _each(names: Sequence[str], exchange: Callable[[str], bytes], deadline_s: float) -> Iterator[Answer]:
        """Run ``exchange`` for each name; whoever has not answered by the deadline is not waited for."""
        end = time.monotonic() + deadline_s
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()

        def run(name: str) -> None:
            try:
                answers.put((name, exchange(name)))
            except Exception as error:
                answers.put((name, error))

        for name in names:
            threading.Thread(target=run, args=(name,), name=f"secure-agg-{name}", daemon=True).start()
        awaited = set(names)
        while awaited:
            try:
                name, answer = answers.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                break
            awaited.remove(name)
            yield name, answer
        for name in sorted(awaited):
            yield name, Late(deadline_s)
