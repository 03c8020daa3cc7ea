"""The one attempt that a node is in: what it was begun with, what was answered, and the client that answers.

All of it is in the journal, so that a new process goes on from there; what is in memory is found again from that.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from secure_agg.errors import AlreadyReleased, LocalProtocolError, MalformedMessage, WrongPhase
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.node.intake import bounded, copied, received
from secure_agg.plugins.core.parcels import Parcel
from secure_agg.plugins.core.training import Update
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.journal import Key
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.messages import ADVERTISE, RECEIPT, Received
from secure_agg.roles.client.client import Client
from secure_agg.roles.memory.attempt import Attempt, end_attempt
from secure_agg.roles.renouncing import renounce_as_client

_log = logging.getLogger("secure_agg.plugins")


def key_of(config: RoundConfig) -> Key:
    """What the journal knows an attempt by."""
    return (config.task, config.round, config.attempt)


class UnderWay:
    """One node's; called with the home locked."""

    def __init__(self, home: ClientHome, *, keeps_answers: bool) -> None:
        """``keeps_answers``: see ``Participant``."""
        self._home, self._keeps_answers = home, keeps_answers
        self._clients: dict[Key, Client] = {}  # one at most, while this object lives
        self._answered: tuple[str, ...] = ()  # by it

    @property
    def held_bytes(self) -> int:
        """Of updates that are to be hidden yet and are in memory meanwhile."""
        return sum(client.held_bytes for client in self._clients.values())

    def step_out(self) -> None:
        """Forget what is in memory: it is found on the disk again."""
        self._clients = {}

    # --- its beginning and its end ----------------------------------------------------------------------------

    def is_begun(self, config: RoundConfig) -> bool:
        """Whether this attempt's update is there already.

        Raises:
            AlreadyReleased: one is there that was trained for another configuration of the attempt.
        """
        journal = self._home.journal
        if journal.key != key_of(config):
            return False
        if journal.facts()["context"] != config.context.hex():
            raise AlreadyReleased("this node has trained for another configuration of this attempt", phase=ADVERTISE)
        return True

    def begin(self, config: RoundConfig, update: Update) -> None:
        """Write down what the attempt begins with, in place of the last one, which is over."""
        home = self._home
        facts = {"context": config.context.hex(), "weight": update.weight, "metrics": update.metrics}
        home.journal.begin(key_of(config), {"update": update.arrays}, facts)
        if config.task == home.task:
            home.own.bind(key_of(config))
            home.residual.bind(key_of(config))

    def end(self) -> None:
        """Forget the attempt that the journal is of: its secrets too, if it came to nothing."""
        key, self._clients = self._home.journal.key, {}
        if key is not None:
            end_attempt(self._home.store, (self._home.name, *key))
            self._home.journal.clear()

    # --- the phases -------------------------------------------------------------------------------------------

    def resumed(self) -> tuple[Key, Client]:
        """The attempt that the journal is of, and the client in it.

        Raises:
            LocalProtocolError: this node has joined no round, or has ended its attempt.
        """
        home, journal = self._home, self._home.journal
        key = journal.key
        requests = journal.requests()
        if key is None or not requests:
            raise LocalProtocolError("this node has joined no round")
        if key not in self._clients or self._answered != requests.names:  # another process has gone on
            client = Client(home.identity, home.trust, store=home.store)
            client.resume(requests, lambda: journal.arrays("update"), journal.facts()["weight"])
            self._clients, self._answered = {key: client}, requests.names
        return key, self._clients[key]

    def goes_on(self, client: Client, key: Key, request: Received) -> None:
        """Write down what a client has answered, so that another process finds it, and this one sees what others have
        answered since.
        """
        self._home.journal.add_request(bytes(request.data))
        self._clients, self._answered = {key: client}, self._home.journal.requests().names

    def step(self, messages: Sequence[bytes | memoryview]) -> bytes:
        """Answer a request of a phase, and keep the receipts that come with it.

        Raises:
            LocalProtocolError: see ``resumed``.
            SecureAggError: see ``Client.receive``.
        """
        key, client = self.resumed()
        first, *others = messages
        request = Received.of(bounded(first, 4 + client.request_limit), client.request_limit)
        receipts = [received(self._home, part) for part in copied(self._home, others)]
        self.take(key, client, receipts)
        if (kept := self._home.journal.answer(request.data)) is not None:
            return kept
        before = client.phases_answered
        answer = client.receive(request)
        if answer is None:
            raise MalformedMessage("a receipt came where a request should be", phase=client.state)
        made = Parcel(parcels.ANSWER, (answer,)).to_bytes()
        if client.phases_answered != before:  # else it came again
            self.keep(request.data, made)  # before what it was made of goes
            self.goes_on(client, key, request)
        if client.hidden:
            self._home.journal.drop("update")
        return made

    def keep(self, request: bytes | memoryview, answer: bytes) -> None:
        """Keep an answer before it is given, where answers are kept."""
        if self._keeps_answers:
            self._home.journal.keep_answer(request, answer)

    def renounce(self, request: bytes) -> bytes:
        """Give up what may still open a sum over this node's update, if it has released nothing of it."""
        home = self._home
        answer = renounce_as_client(home.identity, home.trust, home.store, request)
        _log.warning("%s has renounced: the round that came to nothing is not finished by it any more", home.name)
        key = home.journal.key
        if key is not None and Attempt.is_over(home.store, home.name, key):
            self._clients = {}
            home.journal.clear()
        return Parcel(parcels.ANSWER, (answer,)).to_bytes()

    def take(self, key: Key, client: Client, receipts: Iterable[Received]) -> None:
        """Keep what shows that this node's input was accepted: if it is left out, it can show that too."""
        for receipt in receipts:
            if (phase := receipt.header.phase) != RECEIPT:
                raise WrongPhase(f"a message of phase {phase!r} came as a receipt", phase=client.state)
            client.receive(receipt)
        for sender, kept in client.receipts.items():
            self._home.keep_receipt(key, sender, kept)
