"""Every exception the package raises on purpose, and every warning.

::

    SecureAggError                  .phase, .culprit where they are known
    ├── ConfigError                 a setting is refused before anything starts   (also a ValueError)
    │   ├── FileExists              a new file is asked for where there is one    (also a FileExistsError)
    │   ├── LimitBroken             what a policy bears or costs is beyond a limit that was set for it
    │   └── MissingExtra            packages of an extra are not installed: names it (also a ModuleNotFoundError)
    ├── UpdateError                 a client's own update or weight is unfit      (also a ValueError)
    │   ├── NormRefused             its norm is above the round's bound, and the policy has it stay out
    │   └── QueryRefused            a question of statistics that this site's owner does not allow
    ├── ProtocolError
    │   ├── LocalProtocolError      called out of order: a bug on this side
    │   └── RemoteProtocolError     a peer's fault; nothing was taken over from its message
    │       ├── MalformedMessage    does not decode, wrong size, not canonical, unknown version
    │       ├── WrongPhase          of another phase than the one awaited
    │       ├── WrongContext        of another round, attempt, configuration or view of it
    │       ├── UnknownSender       not a member, or not addressed to this party
    │       ├── DuplicateMessage    a second message, key, commitment or share from one party
    │       │   └── RequestRepeated a request to a service that was made before: says which counter is free
    │       ├── TooManyRequests     a service answers fewer: says how long to wait
    │       ├── RequestRefused      a service refuses what it was asked: says why, by the name of its error
    │       ├── BadSignature
    │       ├── BadKey              low order, reflected, or it fails its confirmation
    │       ├── BadCommitment       a commitment that does not open its hash, or is not one
    │       ├── BadNormProof        no proof that an update is within the round's norm bound
    │       ├── BadInput            a hidden update that is not what was announced
    │       │   └── Disputed        one that contradicts another party's word: refused, and nobody is accused
    │       ├── BadShare            a share that is not the one its dealer vouched for
    │       └── PolicyViolation     a request that breaks the rules the receiver has pinned
    │           └── AnotherModel    one over a model that this node's do not lead to: refused, and nobody is accused
    ├── RoundAborted                the round can't go on
    │   ├── TooFewClients
    │   ├── DealerFault             valid shares of one client rebuild a wrong secret: it is named
    │   ├── KeyHolderFault          a key holder vouched for a wrong sum: it is named
    │   ├── OperatorFault           an operator's answer is provably wrong: it is named
    │   ├── OperatorLost            an operator is gone, or does not answer in time: it is named
    │   ├── EdgeFault           an edge's operator sums something else than its members signed: it is named
    │   ├── Unattributed            the sum, or a share, is not what was promised, and nobody can be named
    │   ├── TaskSpent               this client has given its update of this model: see its round to an end first
    │   ├── BudgetSpent             one more round would tell more of this client than its privacy budget allows
    │   └── RunStopped              no round of a framework's run can succeed, or none has: says how to go on
    ├── AlreadyReleased             a second statement or release is asked for; refused, even after a restart
    ├── PulseMissing                a beacon's pulse is not there: not published yet, or not recorded
    ├── StoreError                  the attempt store can't be read or written
    ├── ExecutorError               workers can't be started, or one answered what it was not asked
    │   └── WorkerLost              a worker is gone, and what it had to do can't be done again
    ├── VerificationError           evidence, record or receipt is not what it claims to be
    │   ├── TrustError              it is, but not from whom the verifier trusts
    │   └── ClaimRefused            it is, and claims less than the verifier asks for
    └── LedgerError
        ├── LedgerRefused           a record that must not be appended; nothing was written
        └── LedgerDamaged           what is stored contradicts itself or its signed head

    SecureAggWarning                a UserWarning
    ├── ClippingWarning             values of updates were clipped
    └── PrecisionWarning            rounding may have moved a mean by more than its range
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class SecureAggWarning(UserWarning):
    """Base of all warnings: a result is what it claims to be, and may not be what its caller wants."""


class ClippingWarning(SecureAggWarning):
    """Values of updates were clipped: the mean is that of the clipped values."""


class PrecisionWarning(SecureAggWarning):
    """Rounding may have moved a mean by more than the range of clipped values: the weights are far below the limit."""


class SecureAggError(Exception):
    """Base of all. ``phase`` is the protocol phase, ``culprit`` the id of whoever is at fault, else None."""

    def __init__(self, message: str, *, phase: str | None = None, culprit: str | None = None) -> None:
        super().__init__(message)
        self.phase = phase
        self.culprit = culprit

    def __str__(self) -> str:
        where = ", ".join(
            f"{name} {value!r}" for name, value in (("phase", self.phase), ("culprit", self.culprit)) if value
        )
        return f"{super().__str__()} [{where}]" if where else super().__str__()


class ConfigError(SecureAggError, ValueError):
    """A setting is refused before anything starts."""


class FileExists(ConfigError, FileExistsError):
    """A new file or folder is asked for where there is one: nothing is ever overwritten."""


class LimitBroken(ConfigError):
    """What a policy bears, costs or bounds is beyond a limit that somebody has set for it, or can't be known."""


class MissingExtra(ConfigError, ModuleNotFoundError):
    """Packages that only some need are not installed; the message has the command that installs them.

    Attributes:
        extra: of this package, that brings them. It has a default, as all attributes of errors do that are made anew
            from their message alone: what comes back from another process is.
    """

    def __init__(self, message: str, *, extra: str = "", phase: str | None = None, culprit: str | None = None) -> None:
        super().__init__(message, phase=phase, culprit=culprit)
        self.extra = extra


class UpdateError(SecureAggError, ValueError):
    """A client's own update or weight is unfit: nothing was sent."""


class NormRefused(UpdateError):
    """A client's own update is longer than the round allows, and its policy says that it stays out then."""


class QueryRefused(UpdateError):
    """A site does not answer a question of statistics: its owner has not allowed it, or its answer beside earlier ones
    would tell of few records. Nothing was sent.
    """


class ProtocolError(SecureAggError):
    """The protocol was not followed."""


class LocalProtocolError(ProtocolError):
    """A method was called out of order: a bug on this side."""


class RemoteProtocolError(ProtocolError):
    """A peer broke the protocol; the receiver's state is as it was before the message."""


class MalformedMessage(RemoteProtocolError):
    """A message does not decode, has a wrong size or version, or is not canonical."""


class WrongPhase(RemoteProtocolError):
    """A message belongs to another phase than the one awaited."""


class WrongContext(RemoteProtocolError):
    """A message belongs to another round, attempt, configuration, or to another view of this one."""


class UnknownSender(RemoteProtocolError):
    """A message is from, or for, somebody who is not expected here."""


class DuplicateMessage(RemoteProtocolError):
    """A second message, key, commitment or share where there can be one."""


class RequestRepeated(DuplicateMessage):
    """A request to a service with a counter that was used before.

    Attributes:
        last: the highest so far; 0 where it was not told, as of an error that came from an operator.
    """

    def __init__(self, message: str, last: int = 0, *, phase: str | None = None, culprit: str | None = None) -> None:
        super().__init__(message, phase=phase, culprit=culprit)
        self.last = last


class TooManyRequests(RemoteProtocolError):
    """More requests to a service than it answers.

    Attributes:
        seconds: after which one is answered again; 0 where it was not told, as of an error that came from an operator.
    """

    def __init__(
        self, message: str, seconds: float = 0.0, *, phase: str | None = None, culprit: str | None = None
    ) -> None:
        super().__init__(message, phase=phase, culprit=culprit)
        self.seconds = seconds


class RequestRefused(RemoteProtocolError):
    """A service refuses a request, and the same again would be refused too. It is the service's word: nobody is named.

    Attributes:
        error: name of the class with which the service has refused, as it says; empty where it was not told.
        status: of its answer, 400 to 499; 0 likewise.
    """

    def __init__(
        self, message: str, error: str = "", status: int = 0, *, phase: str | None = None, culprit: str | None = None
    ) -> None:
        super().__init__(message, phase=phase, culprit=culprit)
        self.error, self.status = error, status


class BadSignature(RemoteProtocolError):
    """A signature does not verify under the pinned key."""


class BadKey(RemoteProtocolError):
    """A public key is not acceptable, or its owner does not hold the secret."""


class BadCommitment(RemoteProtocolError):
    """A commitment is not canonical, or does not open the hash that was signed for it."""


class BadNormProof(RemoteProtocolError):
    """What came with an input does not prove that its norm is within the round's bound: its sender is at fault."""


class BadInput(RemoteProtocolError):
    """A hidden update is not what was announced with it."""


class Disputed(BadInput):
    """A hidden update that contradicts what another party has said, by a word against which there is no proof: it can't
    be summed. Whoever comes second is left out; that shows nothing against it, and ``culprit`` is None.
    """


class BadShare(RemoteProtocolError):
    """A share is not the one that its dealer vouched for."""


class PolicyViolation(RemoteProtocolError):
    """A request breaks rules that the receiver has pinned."""


class AnotherModel(PolicyViolation):
    """A round over a model other than the one that follows from the results this node has verified, or than the first
    one it knows. A server that crafts models looks the same as one that was started anew from a fresh model, or a node
    whose memory is gone: ``culprit`` is None.
    """


class RoundAborted(SecureAggError):
    """The round can't go on. Nothing is returned and nothing written."""


class TooFewClients(RoundAborted):
    """Fewer clients are left than the policy's thresholds."""


class DealerFault(RoundAborted):
    """Valid shares rebuild a secret that its dealer did not announce, or too few came of one proved to cheat: the
    dealer is at fault.
    """


class KeyHolderFault(RoundAborted):
    """A key holder signed that a sum passed the check, and it does not."""


class OperatorFault(RoundAborted):
    """An operator's answer is not what it had bound itself to; the aggregator holds the proof."""


class OperatorLost(RoundAborted):
    """An operator's process is gone or does not answer in time, and the round can't go on without it."""


class EdgeFault(RoundAborted):
    """An edge's operator has taken part in a tree's top round with something else than what its members have signed:
    the top's aggregator holds the proof.
    """


class Unattributed(RoundAborted):
    """The sum is not what was committed to, or too many say that they hold no good share of somebody's secrets, and who
    caused it can't be named: one party's word stands against another's.
    """


class TaskSpent(RoundAborted):
    """This client has given its update of this model to a round, or has signed there, or renounced: it joins no other
    over updates of it before that round is finished, or enough have renounced it; from a new model it does.
    """


class BudgetSpent(RoundAborted):
    """One more signature would take this client over the privacy budget that its policy has pinned: no sum with its
    noise is opened any more in this task, and nobody is at fault.
    """


class RunStopped(RoundAborted):
    """A framework's run ends here: no round of it can succeed, or none has. An app that goes on would put a model that
    nothing was learned by in the place of an earlier result.
    """


class AlreadyReleased(SecureAggError):
    """Something that is given out once was asked for again, or in another form."""


class PulseMissing(SecureAggError):
    """The pulse that has to draw a cohort is not there: not published yet, or not where it was looked for.

    Attributes:
        due: POSIX time in seconds at which it is published; None where that is not known.
    """

    def __init__(
        self, message: str, *, due: int | None = None, phase: str | None = None, culprit: str | None = None
    ) -> None:
        super().__init__(message, phase=phase, culprit=culprit)
        self.due = due


class StoreError(SecureAggError):
    """The attempt store can't be read or written, or is accessible to others: nothing is sent without it."""


class ExecutorError(SecureAggError):
    """Workers can't be started, or one has answered something else than it was asked: nobody else's fault."""


class WorkerLost(ExecutorError):
    """A worker is gone: what was asked of it has to be done again, or was lost with several of them."""


class VerificationError(SecureAggError):
    """Evidence, a record or a receipt is not what it claims to be."""


class TrustError(VerificationError):
    """Evidence is consistent in itself but contradicts what the verifier has pinned."""


class ClaimRefused(VerificationError):
    """A result claims something, like being attested and no sum, that was not asked for."""


class LedgerError(SecureAggError):
    """Base of the ledger's errors."""


class LedgerRefused(LedgerError):
    """A record must not be appended; nothing was written."""


class LedgerDamaged(LedgerError):
    """What is stored contradicts itself or its signed head."""


@contextlib.contextmanager
def stamping(of: type[SecureAggError], *, phase: str | None = None, culprit: str | None = None) -> Iterator[None]:
    """Complete errors that pass by what is known here of where they come from.

    Args:
        of: which errors; others pass as they are.
        phase: of those that name none, since whoever raises knows better.
        culprit: of all, whomever they name: who relays what is wrong answers for it. None leaves that as it is.

    Raises:
        SecureAggError: what was raised inside.
    """
    try:
        yield
    except of as error:
        error.phase = error.phase or phase
        error.culprit = culprit or error.culprit
        raise
