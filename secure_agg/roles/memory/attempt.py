"""What a client keeps of one attempt at a round, in its durable store.

Everything that the client sends in an attempt derives from the attempt's secret and stands here before it leaves, so
that a client in another process sends the identical bytes or refuses. What is large and can be made again is not kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mpc.keystream import KEY_BYTES, derive_key
from secure_agg.errors import AlreadyReleased, LocalProtocolError
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.messages import ADVERTISE
from secure_agg.roles.memory.store import AttemptStore, Scope

_SECRET: Final = "secret"  # noqa: S105 - the name of one
_ONCE: Final = "made once"
_NONCE: Final = "nonce"
_SKETCH: Final = "sketch"
_COMMITMENT: Final = "commitment"
_BASE: Final = "base"
_ADVERTISEMENT: Final = "advertisement"
_CONFIGURATION: Final = "configuration"
_ANSWER: Final = "answer in phase "


def end_attempt(store: AttemptStore, attempt: Scope) -> None:
    """Erase what is secret of an attempt: (client, task, round, attempt). What was bound stays bound."""
    store.forget(attempt, _SECRET, _ONCE, _NONCE, *store.names(attempt, _ANSWER))


class Attempt:
    """One client's record of one attempt. Values are written once; another value is refused with AlreadyReleased."""

    def __init__(self, store: AttemptStore, client: str, config: RoundConfig) -> None:
        self._store, self._config = store, config
        self._scope = (client, config.task, config.round, config.attempt)
        self._secret = b""

    def __repr__(self) -> str:
        return f"Attempt({self._scope!r})"

    @staticmethod
    def is_over(store: AttemptStore, client: str, attempt: Scope) -> bool:
        """Whether the secret of an attempt, (task, round, attempt), is erased, or was never made."""
        return store.get((client, *attempt), _SECRET) is None

    def check_open(self) -> None:
        """Refuse an attempt that was ended.

        Raises:
            AlreadyReleased: the attempt is over for this client, and its secret erased.
        """
        if self._get(_ADVERTISEMENT) is not None and self._get(_SECRET) is None:
            raise AlreadyReleased("this attempt is over for this client", phase=ADVERTISE)

    def begin(self, entropy: Callable[[int], bytes]) -> None:
        """Make the secret, or find the one that was made before; the attempt is open."""
        self._secret = self._store.put(self._scope, _SECRET, entropy(KEY_BYTES))

    def reopen(self) -> tuple[bytes, bytes, bytes]:
        """Find the secret and what was bound when the client joined.

        Returns:
            The advertisement, the commitment C_i, the nonce.

        Raises:
            LocalProtocolError: it has not joined this attempt, or the attempt is over for it.
            AlreadyReleased: it has joined under another configuration.
        """
        secret, advertisement = self._get(_SECRET), self._get(_ADVERTISEMENT)
        commitment, nonce = self._get(_COMMITMENT), self._get(_NONCE)
        if secret is None or advertisement is None or commitment is None or nonce is None:
            raise LocalProtocolError("this client has not joined this attempt, or has ended it", phase=ADVERTISE)
        self._pin(_CONFIGURATION, self._config.context, ADVERTISE)
        self._secret = secret
        return advertisement, commitment, nonce

    @property
    def base(self) -> bytes | None:
        """Digest of the base that this attempt's update is a difference from, in a buffered round; None before."""
        return self._get(_BASE)

    def start_from(self, base: bytes) -> None:
        """Bind to it.

        Raises:
            AlreadyReleased: it is another one than before.
        """
        self._pin(_BASE, base, ADVERTISE)

    def derive(self, label: str) -> bytes:
        """32 secret bytes for one purpose in this attempt: the same again after a restart."""
        return derive_key(self._secret, f"client/{label}", self._config.context)

    def once(self, make: Callable[[], bytes]) -> bytes:
        """What can't be derived: made once, and the same bytes again after a restart."""
        kept = self._get(_ONCE)
        return kept if kept is not None else self._store.put(self._scope, _ONCE, make())

    def commit(self, commitment: bytes) -> None:
        """Bind to the configuration and to C_i: before anything that belongs to this C_i is made once."""
        self._pin(_CONFIGURATION, self._config.context, ADVERTISE)
        self._pin(_COMMITMENT, commitment, ADVERTISE)

    def bind(self, nonce: bytes) -> None:
        """Bind to the nonce of C_i's hash."""
        self._pin(_NONCE, nonce, ADVERTISE)

    def advertise(self, advertisement: bytes) -> None:
        """Bind to what everybody is told: with it the client has joined."""
        self._pin(_ADVERTISEMENT, advertisement, ADVERTISE)

    def enter(self, session: bytes, *, phase: str) -> None:
        """Bind to the participants."""
        self._pin("session", session, phase)

    def send(self, recipient: str, digest: bytes, *, phase: str) -> None:
        """Bind to an input, or to a share, which the recipient's receipt has to name."""
        self._pin(f"sent to {recipient}", digest, phase)

    def sent(self, recipient: str) -> bytes | None:
        """The digest of what this recipient was sent."""
        return self._get(f"sent to {recipient}")

    def sketch(self, digest: bytes, *, phase: str) -> None:
        """Bind to C'_i and its proof, before the input leaves."""
        self._pin(_SKETCH, digest, phase)

    def sketched(self) -> bytes | None:
        """What the sketch that was sent is known by."""
        return self._get(_SKETCH)

    def check_request(self, digest: bytes, *, phase: str, answered: bool) -> None:
        """Check that no other request of a phase was answered.

        Args:
            answered: this one must have been.

        Raises:
            AlreadyReleased: another was.
            LocalProtocolError: none was, and this one must have been.
        """
        known = self._get(f"request of phase {phase}")
        if known not in (None, digest):
            raise AlreadyReleased("this client has answered another request in this phase", phase=phase)
        if answered and known is None:
            raise LocalProtocolError("this client has not answered this request", phase=phase)

    def answer(self, digest: bytes, *, phase: str) -> None:
        """Bind to the one request of a phase that is answered, before the answer leaves.

        Raises:
            AlreadyReleased: another was answered.
        """
        self._pin(f"request of phase {phase}", digest, phase)

    def keep(self, answer: bytes, *, phase: str) -> bytes:
        """Keep a late phase's answer until the attempt is over; whoever asks again gets the same bytes.

        Returns:
            What was kept first.
        """
        return self._store.put(self._scope, _ANSWER + phase, answer)

    def kept(self, phase: str) -> bytes | None:
        """A late phase's answer, if one was given."""
        return self._get(_ANSWER + phase)

    def keep_request(self, phase: str, request: bytes) -> None:
        """Keep a request that is about to be answered: with another one it may prove something."""
        self._store.put(self._scope, f"kept of phase {phase}", request)

    def kept_request(self, phase: str) -> bytes | None:
        """The request of a phase that was kept."""
        return self._get(f"kept of phase {phase}")

    def end(self) -> None:
        """Erase what is secret. What was bound stays bound."""
        end_attempt(self._store, self._scope)

    def _get(self, name: str) -> bytes | None:
        return self._store.get(self._scope, name)

    def _pin(self, name: str, value: bytes, phase: str) -> None:
        self._store.pin(self._scope, name, value, phase=phase)
