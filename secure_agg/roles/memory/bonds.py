"""What a client's earlier signatures and inputs forbid it.

Updates are of one model: the start model, and the very arrays they are differences from. Two sums over updates of the
same model would let an aggregator take their difference, which is somebody's update. So a client binds itself, in one
durable store, by each of the two:

* before its hidden vector leaves, to one place: epoch, round, draw, and the operators without whom no sum is opened;
  in a tree also to its edge and who is in it. Attempts within one place share one cohort, in which two quorums share
  an honest member.
* when it signs a set, to one attempt of one *generation*, and to that set.
* when it releases what opens a sum, or renounces: to the one and never to the other. What was released is repeated in
  the same bytes; who has renounced signs and releases nothing in that generation any more.
* in a buffered round, to the one of its bases that the vector is a difference from: each is used once, and none after a
  later one.
* to the generations that certificates of renunciation have admitted it to; those before are over for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from mpc.framing import frame, integer
from secure_agg.errors import AlreadyReleased, PolicyViolation, TaskSpent, WrongContext
from secure_agg.protocol.config import NO_DIGEST, RoundConfig
from secure_agg.protocol.config.buffer import Base
from secure_agg.protocol.config.tree import EDGE, level, tree_task
from secure_agg.protocol.epoch import EpochRecord, root_task
from secure_agg.protocol.evidence import RoundRecord
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.messages import ADVERTISE
from secure_agg.protocol.renunciation import RENOUNCE, Renouncers, Renunciation, RenunciationCertificate
from secure_agg.protocol.tree.record import VOUCH
from secure_agg.roles.memory import epochs, spending
from secure_agg.roles.memory.attempt import end_attempt
from secure_agg.roles.memory.store import AttemptStore, Scope

_ASKED: Final = ("admitted", "renounced", "signed", "input")
"""What a client has bound itself to that may keep it out of a round."""


class Bonds:
    """One client's bonds in the task of one round, on its durable store."""

    def __init__(
        self,
        store: AttemptStore,
        client: str,
        config: RoundConfig,
        seats: bytes = NO_DIGEST,
        *,
        base: Base | None = None,
        newest: int = 0,
    ) -> None:
        """
        Args:
            seats: of the operators who would renounce, see ``Renouncers.seats``.
            base: that the update of a buffered round is a difference from, which this client has computed itself.
            newest: number of the round's newest base.
        """
        self._store, self._client, self._config = store, client, config
        self._scope = _scope(client, tree_task(config.task, config.policy))
        self._attempt = integer(config.round) + integer(config.attempt)
        self._place = frame("place", integer(config.epoch), integer(config.round), integer(config.draw), seats)
        if level(config.policy) == EDGE:  # another edge, or another draw into edges, is another cohort
            self._place = frame("edge", self._place, config.task.encode(), config.cohort_root)
        self._start = f"start model {config.start_model.hex()}"
        model = base.model if base is not None else config.base_model
        self._base = f"base model {model.hex()}" if model != NO_DIGEST else None
        self._used, self._newest = base, newest
        # Where the arrays are known to follow from a verified result, they are what a signature is for: an evaluation
        # that came to nothing leaves its task's start model as it was, and the next is of another model all the same.
        self._chained = bool(self._base) and store.get(self._scope, _model(model)) is not None

    @property
    def _models(self) -> Iterator[str]:
        """What the client is bound by, apart from each other."""
        if not self._chained:
            yield self._start
        if self._base:
            yield self._base

    def _names(self, what: str, later: int = 0) -> Iterator[str]:
        for model in self._models:
            yield _bond(what, model, self._config.generation + later)

    def check_unspent(self) -> None:
        """Refuse a round that this client must sit out.

        Raises:
            TaskSpent: it has given its input of this model elsewhere, has signed in another attempt of this generation,
                has renounced it, or has been admitted to a later one, or not yet to this one.
            BudgetSpent: its privacy budget has no room for one more round.
        """
        self.check_open()
        self._check_used()
        generation = self._config.generation
        numbered = [*((what, generation) for what in _ASKED), ("admitted", generation + 1)]
        names = [_bond(what, model, number) for model in self._models for what, number in numbered]
        standing = self._store.standing(self._scope, names)
        for model in self._models:

            def bound(what: str, number: int = generation, model: str = model) -> bytes | None:
                return standing.get(_bond(what, model, number))

            of = "from this start model" if model == self._start else "over differences from this very model"
            if bound("admitted", generation + 1) is not None:
                raise self._spent(f"generation {generation} of updates {of} is over: a later one has begun")
            if generation and bound("admitted") != self._config.renounced:
                raise self._spent(
                    f"{self._client!r} knows no certificate that ends generation {generation - 1} of updates {of}"
                )
            if bound("renounced") is not None:
                raise self._spent(
                    f"{self._client!r} has renounced generation {generation} of updates {of}: it joins again once "
                    "enough others have"
                )
            if bound("signed") not in (None, self._attempt):
                raise self._spent(
                    f"{self._client!r} has signed in another attempt {of}: that one may be finished, or renounced; "
                    "else it joins again from a new model, or under a new task"
                )
            if bound("input") not in (None, self._place):
                raise self._spent(f"{self._client!r} has given its update in another round, draw or epoch {of}")
        spending.check_budget(self._store, self._client, self._config)

    def _check_used(self) -> None:
        """Refuse a base of a buffered round that was used elsewhere, or comes before one that was."""
        for name, said in self._later().items():
            if self._store.get(self._scope, name) is not None:
                raise self._spent(said)
        if self._used is None:
            return
        number = self._used.number
        if self._store.get(self._scope, _used(number)) not in (None, self._place):
            raise self._spent(
                f"{self._client!r} has given its update from base {number} in another round: each base is used once, "
                f"base {number + 1} would do" + (", once there is one" if number == self._newest else "")
            )

    def _later(self) -> dict[str, str]:
        """Uses of bases after this update's, with what one means."""
        if self._used is None:
            return {}
        used = self._used.number
        # Another process over this store may have gone on since the round was looked at.
        bound = (int(name.rpartition(" ")[2]) for name in self._store.names(self._scope, _used("")))
        later = {*range(used + 1, self._newest + 2), *(number for number in bound if number > used)}
        return {
            _used(
                number
            ): f"{self._client!r} has given an update from base {number}, and this one is from base {used}: "
            f"bases are used in increasing order, base {number + 1} would do"
            for number in sorted(later)
        }

    @staticmethod
    def _spent(text: str) -> TaskSpent:
        return TaskSpent(text, phase=ADVERTISE)

    def enter(self) -> None:
        """Note an attempt that this client begins, so that its secrets are found when it renounces."""
        for name in self._names(f"attempt {self._config.round}.{self._config.attempt}"):
            self._store.put(self._scope, name, b"1")

    def check_open(self) -> None:
        """Refuse an epoch that this client has closed.

        Raises:
            TaskSpent: it has: it gives nothing more in it.
        """
        task, epoch = root_task(self._config.task), self._config.epoch
        if epochs.is_closed(self._store, self._client, task, epoch):
            raise TaskSpent(
                f"{self._client!r} has closed epoch {epoch} of task {task!r}: it joins again in the next one",
                phase=ADVERTISE,
            )

    def check_members(self, keys: Mapping[str, bytes], *, phase: str) -> None:
        """Refuse to take part with somebody who is proved to have broken the protocol in this task.

        Args:
            keys: of all members, by id. Whoever has another than the one that was convicted is somebody else: a key
                that was stolen is rotated in an epoch.

        Raises:
            PolicyViolation: says whom; who has let that client in may not know it.
        """
        convicted = frozenset(self._store.names(self._scope, _fault("")))
        for name, public in keys.items() if convicted else ():
            found = self._store.get(self._scope, _fault(name)) if _fault(name) in convicted else None
            if found is not None and FaultProof.from_bytes(found).public == public:
                raise PolicyViolation(
                    f"{name!r} is proved to have broken the protocol in this task: {self._client!r} takes part in no "
                    "round of it with that client",
                    phase=phase,
                )

    def check_operator(self, name: str, public: bytes, *, phase: str) -> None:
        """Refuse an operator that is proved to have broken the protocol, in whichever task.

        Raises:
            PolicyViolation: it is.
        """
        if self._store.get(_operators(self._client), _fault(public.hex())) is not None:
            raise PolicyViolation(
                f"{name!r} is proved to have broken the protocol: {self._client!r} answers it no more",
                phase=phase,
                culprit=name,
            )

    def convict(self, proof: FaultProof) -> None:
        """Remember, durably, what was proved of a client and has been checked."""
        self._store.put(self._scope, _fault(proof.culprit), proof.to_bytes())

    def convict_operator(self, proof: FaultProof) -> None:
        """The same of an operator, whose key is convicted in every task."""
        self._store.put(_operators(self._client), _fault(proof.public.hex()), proof.to_bytes())

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
        again = again or bool(self._store.names(self._scope, f"input {self._start} "))
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
        if self._used is not None:  # it was found among the round's bases
            return
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

    def give(self, *, phase: str) -> None:
        """Bind to the place that this client's hidden vector goes to, durably, before it leaves.

        Raises:
            TaskSpent: see ``check_unspent``.
            AlreadyReleased: it was given elsewhere, or renounced, meanwhile.
        """
        self.check_unspent()
        also = {_used(self._used.number): self._place} if self._used is not None else {}
        self._bind("input", self._place, self._over() | self._later(), phase, also)

    def sign(self, statement: bytes, *, phase: str) -> None:
        """Bind to the set that is about to be signed, durably.

        Raises:
            TaskSpent: see ``check_unspent``.
            AlreadyReleased: another set was signed in this generation.
            BudgetSpent: this signature would take the client over its privacy budget.
        """
        self.check_unspent()
        spending.spend(self._store, self._client, self._config, phase=phase)
        self._store.put(self._scope, "signed", b"1")
        self._bind("signed", self._attempt, self._over(), phase)
        self._bind("set", self._attempt + frame("signed", statement), self._over(), phase)

    def release(self, root: bytes, *, phase: str) -> None:
        """Bind to the release of what opens the sum of one set, durably, before it leaves. The same again is harmless.

        Args:
            root: of the set.

        Raises:
            AlreadyReleased: this client has renounced, or has released for another set in this phase.
        """
        self._bind(f"released in phase {phase}", self._attempt + root, self._over(), phase)
        self._bind("released", b"1", self._over(), phase)

    def _over(self) -> dict[str, str]:
        said = dict.fromkeys(self._names("renounced"), "this client has renounced this generation")
        return said | dict.fromkeys(self._names("admitted", 1), "this generation is over: a later one has begun")

    def _bind(
        self, what: str, value: bytes, unless: dict[str, str], phase: str, also: Mapping[str, bytes] | None = None
    ) -> None:
        values = dict.fromkeys(self._names(what), value) | dict(also or {})
        self._store.bind(self._scope, values, unless=unless, phase=phase)
        if self._chained and what != "admitted":  # for a round whose arrays are not known to follow from a result
            self._store.put(self._scope, _bond(what, self._start, self._config.generation), value)

    def renounce(self, successor: bytes = b"") -> Renunciation:
        """Give up what is left to do in this generation: the secrets of its attempts are erased, and from now on
        nothing is signed or released in it.

        Args:
            successor: see ``Renunciation``.

        Returns:
            What this client may sign now, once and again.

        Raises:
            AlreadyReleased: it has released something in some attempt of it, or has gone on to a later generation.
            TaskSpent: it was not admitted to this generation, or its input is elsewhere.
        """
        generation = self._config.generation
        for name in self._names("admitted") if generation else ():
            if self._store.get(self._scope, name) != self._config.renounced:
                raise self._spent(f"{self._client!r} has not been admitted to generation {generation}")
        for name in self._names("input"):
            if self._store.get(self._scope, name) not in (None, self._place):
                raise self._spent(f"{self._client!r} has given its update in another round, draw or epoch")
        said = "this client has released what may open a sum: it renounces nothing"
        unless = dict.fromkeys(self._names("released"), said)
        later = dict.fromkeys(self._names("admitted", 1), "this generation is over: a later one has begun")
        self._bind("renounced", b"1", unless | later, RENOUNCE)
        for name in self._store.names(self._scope, "attempt "):
            if any(name.endswith(ended) for ended in self._names("")):
                number, attempt = name.split(" ", 2)[1].split(".")
                end_attempt(self._store, (self._client, self._config.task, int(number), int(attempt)))
        return Renunciation.of(self._config, successor)

    def admit(self, certificate: RenunciationCertificate, renouncers: Renouncers, *, checked: bool = False) -> None:
        """Go on to the generation of this round, which a certificate has opened; durably, once it is checked.

        Args:
            certificate: of the generation before, which the configuration names.
            renouncers: of that.
            checked: its signatures were, when this client followed the epoch that it begins.

        Raises:
            VerificationError, TooFewClients: see ``RenunciationCertificate.check_precedes``.
            TaskSpent: this client's input in it was opened by other operators than these.
        """
        certificate.check_statement(self._config)
        if not checked:
            certificate.check(renouncers)
        # Of a closed epoch it was members who opened sums, whoever does in this one.
        seats = NO_DIGEST if certificate.statement.successor else renouncers.seats
        place = _placed(certificate.statement, seats)
        for model in self._models:
            before = _bond("input", model, self._config.generation - 1)
            if self._store.get(self._scope, before) not in (None, place):
                raise self._spent(f"the certificate is not of where {self._client!r} has given its update")
        self._bind("admitted", certificate.digest(), {}, RENOUNCE)


def enter_edge(store: AttemptStore, client: str, config: RoundConfig, *, phase: str) -> None:
    """Bind to one edge of a tree in one attempt at its round, durably: whoever were in two would be summed twice.

    Args:
        config: of the edge's round.

    Raises:
        AlreadyReleased: this client is in another edge, or in another configuration of this one.
    """
    name = f"edge of {config.round}.{config.attempt}"
    store.pin(_scope(client, tree_task(config.task, config.policy)), name, config.context, phase=phase)


def vouch(store: AttemptStore, client: str, config: RoundConfig, record: bytes) -> None:
    """Bind to the record of an edge's round that is about to be signed, durably: one for each round of the tree.

    Args:
        record: digest.

    Raises:
        AlreadyReleased: another was signed in this round.
    """
    value = integer(config.attempt) + record
    if store.put(_scope(client, tree_task(config.task, config.policy)), f"edge record {config.round}", value) != value:
        raise AlreadyReleased("this client has signed another record of its edge in this round", phase=VOUCH)


def learn_result(store: AttemptStore, client: str, record: RoundRecord) -> None:
    """Remember a result that this client has verified: a model that its next round may start from.

    Args:
        record: of a round of which the client has checked the evidence, and the ledger's receipt where it pins a
            ledger; also of one it had no part in.
    """
    scope = _scope(client, record.task)
    store.put(scope, _limit(record.digest()), integer(record.next_weight_limit))
    if record.next_clips:
        store.put(scope, _clips(record.digest()), b"".join(map(integer, record.next_clips)))
    store.put(scope, _result(record.result_model), b"1")


def admitted(store: AttemptStore, client: str, statement: Renunciation) -> bytes:
    """Digest of the certificate that has admitted this client to the generation of a statement; zeros for none."""
    scope = _scope(client, statement.task)
    for model in _models_of(statement):
        found = store.get(scope, _bond("admitted", model, statement.generation))
        if found is not None:
            return found
    return NO_DIGEST


def gave_input(store: AttemptStore, client: str, task: str, model: bytes) -> bool:
    """Whether this client has given an update that is a difference from these arrays, in any round of the task."""
    scope, base = _scope(client, task), f"base model {model.hex()}"
    return store.get(scope, base) is not None or bool(store.names(scope, f"input {base} "))


def learn_epoch(store: AttemptStore, client: str, record: EpochRecord, closure: bytes) -> None:
    """Remember an epoch that this client follows: what its next round may start from, its weight limit, and that it is
    admitted to the generation that the closing of the epoch before has begun.

    Args:
        record: of the epoch, checked.
        closure: the certificate, encoded; empty for none.
    """
    scope = _scope(client, record.task)
    store.put(scope, _limit(record.digest()), integer(record.next_weight_limit))
    if closure or record.restarts:  # else nobody but the log says from where the task goes on
        store.put(scope, _result(record.start_model), b"1")
    if not record.generation:
        return
    said = RenunciationCertificate.from_bytes(closure).statement
    for model in _models_of(said):
        given = store.get(scope, _bond("input", model, said.generation))
        if given in (None, _placed(said, NO_DIGEST)):  # else it was given where nobody has closed anything
            store.put(scope, _bond("admitted", model, record.generation), record.renounced)


def _models_of(said: Renunciation) -> Iterator[str]:
    """What a renunciation is about, by the names that bonds stand under."""
    if said.base_model != NO_DIGEST:
        yield f"base model {said.base_model.hex()}"
    yield f"start model {said.start_model.hex()}"


def _placed(said: Renunciation, seats: bytes) -> bytes:
    return frame("place", integer(said.epoch), integer(said.round), integer(said.draw), seats)


def is_known(store: AttemptStore, client: str, task: str, model: bytes) -> bool:
    """Whether rounds may start from this digest: of a result that this client has verified, or an epoch it follows."""
    return store.get(_scope(client, task), _result(model)) is not None


def weight_limit_after(store: AttemptStore, client: str, task: str, record: bytes) -> int | None:
    """What a result that this client has verified says of the weights of the round that follows.

    Args:
        record: digest of the result's record.

    Returns:
        Its ``next_weight_limit``; None where this client has verified no such result.
    """
    found = store.get(_scope(client, task), _limit(record))
    return None if found is None else int.from_bytes(found, "little")


def clips_after(store: AttemptStore, client: str, task: str, record: bytes) -> tuple[int, ...]:
    """k of the adaptive clips of the round that follows a result which this client has verified; empty of none.

    Args:
        record: digest of the result's record.
    """
    found = store.get(_scope(client, task), _clips(record)) or b""
    size = len(integer(0))
    return tuple(int.from_bytes(found[at : at + size], "little") for at in range(0, len(found), size))


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


def _bond(what: str, model: str, generation: int) -> str:
    """Signatures of the first generation stand under the model itself, as earlier releases have written them."""
    return model if (what, generation) == ("signed", 0) else f"{what} {model} generation {generation}"


def _used(number: int | str) -> str:
    return f"update from base {number}"


def _scope(client: str, task: str) -> Scope:
    return client, task, "task"


def _operators(client: str) -> Scope:
    return client, "operators"


def _fault(culprit: str) -> str:
    return f"fault of {culprit}"


def _limit(record: bytes) -> str:
    return f"weight limit after {record.hex()}"


def _clips(record: bytes) -> str:
    return f"clips after {record.hex()}"


def _result(model: bytes) -> str:
    return f"result {model.hex()}"


def _model(model: bytes) -> str:
    return f"model {model.hex()}"
