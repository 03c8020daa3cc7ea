"""What a client's earlier signatures forbid it.

A client signs one set for each round, and joins again only from a new start model. A set signed twice, or two sets over
updates of the same model, would let an aggregator take the difference of two sums, which is somebody's update.
"""

from __future__ import annotations

from mpc.framing import frame, integer
from secure_agg.config import RoundConfig
from secure_agg.errors import AlreadyReleased, PolicyViolation, TaskSpent, WrongContext
from secure_agg.messages import ADVERTISE
from secure_agg.store import AttemptStore


class Bonds:
    """One client's bonds in the task of one round, on its durable store."""

    def __init__(self, store: AttemptStore, client: str, config: RoundConfig) -> None:
        self._store, self._client, self._config = store, client, config
        self._scope = (client, config.task, "task")
        self._attempt = integer(config.round) + integer(config.attempt)
        self._start = f"start model {config.start_model.hex()}"
        self._round = f"round {config.round}"

    def check_unspent(self) -> None:
        """Refuse a round that this client must sit out.

        Raises:
            TaskSpent: it has signed in another attempt at this round, or from this start model.
        """
        spent = self._store.get(self._scope, self._start)
        if spent not in (None, self._attempt):
            raise TaskSpent(
                f"{self._client!r} has signed in another attempt from this start model: "
                "it joins again from a new model, or under a new task",
                phase=ADVERTISE,
            )
        signed = self._store.get(self._scope, self._round)
        if signed is not None and not signed.startswith(self._attempt):
            raise TaskSpent(
                f"{self._client!r} has signed a set in another attempt at round {self._config.round}", phase=ADVERTISE
            )

    def check_start(self, start_model: bytes | None) -> None:
        """The model an aggregator names is believed only until this client has signed: afterwards a new name for an
        old model would let it sum the same updates twice.

        Args:
            start_model: what this client trained from, if its owner says.

        Raises:
            WrongContext: the round starts from another model.
            PolicyViolation: nobody but the aggregator says that it is a new one.
        """
        named = self._config.start_model
        if start_model not in (None, named):
            raise WrongContext("the round starts from another model than this client trained from", phase=ADVERTISE)
        known = start_model is not None or self._store.get(self._scope, f"result {named.hex()}") is not None
        again = self._store.get(self._scope, self._start) is not None
        if not (known or again) and self._store.get(self._scope, "signed") is not None:
            raise PolicyViolation(
                "the round starts from a model that is no result this client has verified: say which it trained from",
                phase=ADVERTISE,
            )

    def sign(self, statement: bytes, *, phase: str) -> None:
        """Bind to the set that is about to be signed, durably.

        Raises:
            TaskSpent: see ``check_unspent``.
            AlreadyReleased: another set was signed in this attempt.
        """
        self.check_unspent()
        self._store.put(self._scope, "signed", b"1")
        self._store.pin(self._scope, self._start, self._attempt, phase=phase)
        value = self._attempt + frame("signed", statement)
        if self._store.put(self._scope, self._round, value) != value:
            raise AlreadyReleased("this client has signed another set in this round", phase=phase)

    def learn(self, result_model: bytes) -> None:
        """Remember a verified result: a model that the next round may start from."""
        self._store.put(self._scope, f"result {result_model.hex()}", b"1")
