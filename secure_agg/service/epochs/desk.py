"""What a service answers about epochs: those that a party has missed, and what is proposed for the next.

All of it is checked by whom it is for. A server decides neither what an epoch says, which is a digest that owners sign,
nor when it begins: members' nodes close the one in force, as under a framework.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import Final

from secure_agg.errors import ConfigError, MalformedMessage, SecureAggError, TooManyRequests, VerificationError
from secure_agg.plugins.homes.offers import Offers
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.epoch import EpochEvidence
from secure_agg.protocol.identity import Roster
from secure_agg.roles.epochs.following import MAX_STEP_ANSWER, Where
from secure_agg.service import wire
from secure_agg.service.gate import Admitted, Bucket
from zk.transcript import DIGEST_BYTES

DECIDES: Final = "decides"
ACCEPTS: Final = "accepts"
OF_PROPOSALS: Final = (0.2, 10)
"""Proposals, or signatures of one, of a key a second, in the long run and at once: each may cost a second of work."""
_MOST_PARTIES: Final = 1024
_COUNTED_S: Final = 2.0

_log = logging.getLogger("secure_agg.service")


class Desk:
    """Of one task; for any thread."""

    def __init__(self, home: ServerHome) -> None:
        self._home, self._offers = home, Offers(home)
        self._counted, self._at, self._counting = 0, -math.inf, threading.Lock()
        self._bringing: dict[tuple[str, bytes], Bucket] = {}  # by name and key, the last used at the end

    def guests(self) -> dict[str, list[Roster]]:
        """Who may ask here and need be no member: ``DECIDES``, administrators; ``ACCEPTS``, whoever is to have a new
        key. A proposal can give anybody's name a new key, so by such a one nothing is proposed.
        """
        return {DECIDES: [self._offers.deciding()], ACCEPTS: self._offers.accepting()}

    def waiting(self) -> int:
        """How many proposals lie open, as of some seconds ago: members are told, and look if they like. Every poll asks
        for it, so one looks at a time, and nobody waits for that one: a proposal of thousands of keys takes seconds.
        """
        if time.monotonic() > self._at + _COUNTED_S and self._counting.acquire(blocking=False):
            try:
                self._counted = len(self._offers.open())
            except SecureAggError as error:  # rounds go on without proposals
                _log.error("proposals can't be counted: %s", error.args[0], extra={"task": self._home.task})
            finally:
                self._at = time.monotonic()
                self._counting.release()
        return self._counted

    def epochs(self, where: bytes) -> bytes:
        """The epochs since the one that a party has come to, as many as are sent at once.

        Raises:
            MalformedMessage: it does not say which.
        """
        said = Where.from_bytes(where)
        return self._home.ledger.steps(self._home.task, said.epoch, said.seen or None, MAX_STEP_ANSWER).to_bytes()

    def proposals(self) -> bytes:
        """The list of what lies open."""
        return wire.list_offers({body: offer.by for body, offer in self._offers.open().items()})

    def proposal(self, number: str) -> bytes:
        """One of them, by its digest in hexadecimal.

        Raises:
            MalformedMessage: it is no digest.
            WrongContext: nothing with this digest lies open.
        """
        try:
            body = bytes.fromhex(number)
        except ValueError:
            body = b""
        if len(body) != DIGEST_BYTES:
            raise MalformedMessage("a proposal is named by its digest", phase=wire.REQUEST)
        return self._offers.find(body).proposal.to_bytes()

    @property
    def most(self) -> int:
        """Most bytes of a proposal that is brought here, with its signatures."""
        return 4 * self._offers.most

    def count(self, who: Admitted) -> None:
        """Count a proposal of a party that has been recognised. For one thread.

        Raises:
            TooManyRequests: it brings too many.
        """
        bucket = self._bringing[who[:2]] = self._bringing.pop(who[:2], Bucket(*OF_PROPOSALS))
        if len(self._bringing) > _MOST_PARTIES:
            del self._bringing[next(iter(self._bringing))]
        if wait := bucket.take():
            raise TooManyRequests(  # by a key that somebody may have proposed for another's name
                f"one key brings more than {60 * OF_PROPOSALS[0]:g} proposals a minute", wait, phase=wire.REQUEST
            )

    def propose(self, name: str, data: bytes, *, decides: bool) -> None:
        """Take in a proposal, or signatures of one, from a party that has been recognised.

        Args:
            decides: whether it was by a key that may propose.

        Raises:
            VerificationError, PolicyViolation: see ``Offers.put``.
            ConfigError: a file of this service's own can't be read.
        """
        most = self._offers.most
        try:
            offer = self._offers.put(name, EpochEvidence.from_bytes(data, most), decides=decides)
        except ConfigError as error:  # of what was brought: a ``ConfigError`` of ours is about this service's files
            raise VerificationError(str(error.args[0])) from error
        body = offer.proposal.says
        _log.info(
            "epoch %d of %r, %s…, is authorised by %d", body.epoch, body.task, body.digest.hex()[:16],
            len(offer.proposal.authorisations), extra={"task": body.task, "member": name},
        )  # fmt: skip
