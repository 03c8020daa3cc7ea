"""What a client's earlier signatures forbid it.

A client signs one set for each round, and joins again only from a new start model, and from other arrays where the
round names those. A set signed twice, or two sets over updates of the same model, would let an aggregator take the
difference of two sums, which is somebody's update.
"""

from __future__ import annotations

from mpc.framing import frame, integer
from secure_agg.errors import AlreadyReleased, PolicyViolation, TaskSpent, WrongContext
from secure_agg.protocol.config import NO_DIGEST, RoundConfig
from secure_agg.protocol.config.tree import root_task
from secure_agg.protocol.evidence import RoundRecord
from secure_agg.protocol.messages import ADVERTISE
from secure_agg.protocol.tree.record import VOUCH
from secure_agg.roles.memory.store import AttemptStore, Scope


class Bonds:
    """One client's bonds in the task of one round, on its durable store."""

    def __init__(self, store: AttemptStore, client: str, config: RoundConfig) -> None:
        self._store, self._client, self._config = store, client, config
        self._scope = _scope(client, root_task(config.task, config.policy))
        self._attempt = integer(config.round) + integer(config.attempt)
        self._start = f"start model {config.start_model.hex()}"
        self._base = f"base model {config.base_model.hex()}" if config.base_model != NO_DIGEST else None
        self._round = f"round {config.round}"
        self._chained = bool(self._base) and store.get(self._scope, _model(config.base_model)) is not None

    def check_unspent(self) -> None:
        """Refuse a round that this client must sit out.

        Raises:
            TaskSpent: it has signed in another attempt at this round, from this start model, or over differences from
                these arrays.
        """
        spent = self._store.get(self._scope, self._start)
        # Where the arrays are known to follow from a verified result, they are what a signature is for: an evaluation
        # that came to nothing leaves its task's start model as it was, and the next is of another model all the same.
        if not self._chained and spent not in (None, self._attempt):
            raise TaskSpent(
                f"{self._client!r} has signed in another attempt from this start model: "
                "it joins again from a new model, or under a new task",
                phase=ADVERTISE,
            )
        trained = self._store.get(self._scope, self._base) if self._base else None
        if trained not in (None, self._attempt):
            raise TaskSpent(
                f"{self._client!r} has signed in another attempt over differences from this very model: "
                "it joins again from another one",
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
        known = start_model is not None or self._store.get(self._scope, _result(named)) is not None
        again = self._store.get(self._scope, self._start) is not None
        if not (known or again) and self._store.get(self._scope, "signed") is not None:
            raise PolicyViolation(
                "the round starts from a model that is no result this client has verified: say which it trained from",
                phase=ADVERTISE,
            )

    def check_base(self, base_model: bytes | None) -> None:
        """The round is bound to the very arrays that this client trained from: clients that were shown different
        models are in no round together.

        Args:
            base_model: digest of those arrays, if the update is a difference from them.

        Raises:
            WrongContext: the round names another model, or none.
            PolicyViolation: the round names one, and nobody but the aggregator says that it is this one.
        """
        named = self._config.base_model
        if base_model is None:
            if named != NO_DIGEST:
                raise PolicyViolation(
                    "the round's updates are differences from a model: say which was trained from", phase=ADVERTISE
                )
        elif base_model != named:
            what = "another model" if named != NO_DIGEST else "no model"
            raise WrongContext(
                f"the round's updates are differences from {what}, this client's from the one it was shown",
                phase=ADVERTISE,
            )

    def check_instructions(self, instructions: bytes | None) -> None:
        """The round is bound to all that this client was given beside the model: clients that were told different
        things are in no round together.

        What a set may be signed for does not depend on it: new instructions for an old model are no new model.

        Args:
            instructions: digest of what this client was given, if it was given anything.

        Raises:
            WrongContext: the round names other instructions, or none.
            PolicyViolation: the round names some, and nobody but the aggregator says that it is these.
        """
        named = self._config.instructions
        if instructions is None:
            if named != NO_DIGEST:
                raise PolicyViolation(
                    "the round is bound to instructions: say which this client was given", phase=ADVERTISE
                )
        elif instructions != named:
            what = "other instructions" if named != NO_DIGEST else "no instructions"
            raise WrongContext(f"the round is bound to {what} than this client was given", phase=ADVERTISE)

    def sign(self, statement: bytes, *, phase: str) -> None:
        """Bind to the set that is about to be signed, durably.

        Raises:
            TaskSpent: see ``check_unspent``.
            AlreadyReleased: another set was signed in this attempt.
        """
        self.check_unspent()
        self._store.put(self._scope, "signed", b"1")
        if self._base:
            self._store.pin(self._scope, self._base, self._attempt, phase=phase)
        if self._store.put(self._scope, self._start, self._attempt) != self._attempt and not self._chained:
            raise AlreadyReleased("this client is bound to another attempt from this start model", phase=phase)
        value = self._attempt + frame("signed", statement)
        if self._store.put(self._scope, self._round, value) != value:
            raise AlreadyReleased("this client has signed another set in this round", phase=phase)


def enter_edge(store: AttemptStore, client: str, config: RoundConfig, *, phase: str) -> None:
    """Bind to one edge of a tree in one attempt at its round, durably: whoever were in two would be summed twice.

    Args:
        config: of the edge's round.

    Raises:
        AlreadyReleased: this client is in another edge, or in another configuration of this one.
    """
    name = f"edge of {config.round}.{config.attempt}"
    store.pin(_scope(client, root_task(config.task, config.policy)), name, config.context, phase=phase)


def vouch(store: AttemptStore, client: str, config: RoundConfig, record: bytes) -> None:
    """Bind to the record of an edge's round that is about to be signed, durably: one for each round of the tree.

    Args:
        record: digest.

    Raises:
        AlreadyReleased: another was signed in this round.
    """
    value = integer(config.attempt) + record
    if store.put(_scope(client, root_task(config.task, config.policy)), f"edge record {config.round}", value) != value:
        raise AlreadyReleased("this client has signed another record of its edge in this round", phase=VOUCH)


def learn_result(store: AttemptStore, client: str, record: RoundRecord) -> None:
    """Remember a result that this client has verified: a model that its next round may start from.

    Args:
        record: of a round of which the client has checked the evidence, and the ledger's receipt where it pins a
            ledger; also of one it had no part in.
    """
    scope = _scope(client, record.task)
    store.put(scope, _limit(record.digest()), integer(record.next_weight_limit))
    store.put(scope, _result(record.result_model), b"1")


def weight_limit_after(store: AttemptStore, client: str, task: str, record: bytes) -> int | None:
    """What a result that this client has verified says of the weights of the round that follows.

    Args:
        record: digest of the result's record.

    Returns:
        Its ``next_weight_limit``; None where this client has verified no such result.
    """
    found = store.get(_scope(client, task), _limit(record))
    return None if found is None else int.from_bytes(found, "little")


def learn_model(store: AttemptStore, client: str, task: str, model: bytes) -> None:
    """Remember arrays that follow from a result that this client has verified, by its own computation: a signature over
    differences from them, or an evaluation of them, is for them alone.

    Args:
        task: whose rounds may name them as base model.
        model: their digest.
    """
    store.put(_scope(client, task), _model(model), b"1")


def has_signed(store: AttemptStore, client: str, task: str) -> bool:
    """Whether this client has signed a set in any round of the task."""
    return store.get(_scope(client, task), "signed") is not None


def _scope(client: str, task: str) -> Scope:
    return client, task, "task"


def _limit(record: bytes) -> str:
    return f"weight limit after {record.hex()}"


def _result(model: bytes) -> str:
    return f"result {model.hex()}"


def _model(model: bytes) -> str:
    return f"model {model.hex()}"
