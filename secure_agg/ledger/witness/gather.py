"""Gathering cosignatures: a log shows its newest head to witnesses and keeps what they answer (C2SP tlog-witness)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from secure_agg.errors import ConfigError, LedgerDamaged, SecureAggError, VerificationError
from secure_agg.ledger.log import Ledger
from secure_agg.ledger.publish.fetch import WebClient
from secure_agg.ledger.witness.witness import SIZE, AddCheckpoint
from secure_agg.tlog.checkpoint import parse_decimal
from secure_agg.tlog.cosignature import WitnessKey, timestamp
from secure_agg.tlog.note import MAX_NOTE, Note, SignatureLine
from secure_agg.tlog.policy import CLOCK_TOLERANCE

SECONDS: Final = 10.0
"""For one answer of a witness."""

_ATTEMPTS: Final = 3  # from size 0, from the size that the witness names, and once more if others ask meanwhile
_THREADS: Final = 16
_REASON: Final = 200  # characters of a refusal that are passed on


@dataclass(frozen=True)
class WitnessAddress:
    """Where a witness is, and the key that its cosignatures have to verify under.

    Attributes:
        url: its submission prefix, ``http:`` or ``https:``.
        key: pinned by whoever asks.
    """

    url: str
    key: WitnessKey

    @staticmethod
    def parse(text: str) -> WitnessAddress:
        """Parse ``URL=VKEY``; the URL holds no ``=``.

        Raises:
            ConfigError: not of this form, or either part is malformed.
        """
        url, separator, key = text.partition("=")
        if not separator:
            raise ConfigError(f"witness {text!r} is not of the form URL=VKEY")
        WebClient(url).close()
        return WitnessAddress(url, WitnessKey.parse(key))


@dataclass(frozen=True)
class Outcome:
    """What came of asking one witness.

    Attributes:
        witness: that was asked.
        seconds: POSIX time of its cosignature, or None if there is none.
        reason: why there is none; empty if there is one.
    """

    witness: WitnessAddress
    seconds: int | None
    reason: str


@dataclass(frozen=True)
class Gathering:
    """What came of asking all.

    Attributes:
        size: of the head that was shown.
        outcomes: in the order of the witnesses.
    """

    size: int
    outcomes: tuple[Outcome, ...]

    @property
    def cosigned(self) -> int:
        """How many witnesses have cosigned."""
        return sum(outcome.seconds is not None for outcome in self.outcomes)


class _Failed(Exception):
    """This witness gives no cosignature now; says why."""


def gather(
    ledger: Ledger,
    witnesses: Sequence[WitnessAddress],
    *,
    seconds: float = SECONDS,
    clock: Callable[[], float] = time.time,
) -> Gathering:
    """Ask all witnesses at once to cosign the ledger's newest head, and keep the cosignatures that verify.

    To be called after ``Ledger.append``, or at any time later: witnesses accept any growth since the last time. One
    that is down, refuses, or answers with anything but its own good cosignature is reported, and keeps nobody from
    going on.

    Args:
        ledger: open for writing.
        witnesses: to ask; none twice.
        seconds: for one answer; one witness is asked three times at most.
        clock: POSIX time; a cosignature of more than five minutes later is refused.

    Raises:
        ConfigError: two witnesses have one URL or one key.
        LedgerRefused: opened read-only, with a cosignature to keep.
        LedgerDamaged: the stored tree has a gap.
        LedgerError: the cosignatures can't be written.
    """
    for what in ([witness.url for witness in witnesses], [witness.key.public for witness in witnesses]):
        if len(set(what)) != len(what):
            raise ConfigError("two of the witnesses have one URL or one key")
    head = ledger.head()
    note = head.note(ledger.log_public)
    found: list[SignatureLine] = []
    outcomes: list[Outcome] = []

    def ask(witness: WitnessAddress) -> SignatureLine | str:
        try:
            return _ask(ledger, note, head.size, witness, seconds, clock)
        except LedgerDamaged:  # the ledger's own tree: no fault of the witness's
            raise
        except (_Failed, SecureAggError) as error:
            return str(error.args[0])

    with ThreadPoolExecutor(min(_THREADS, len(witnesses)) or 1) as pool:
        for witness, result in zip(witnesses, pool.map(ask, witnesses), strict=True):
            if isinstance(result, str):
                outcomes.append(Outcome(witness, None, result))
            else:
                found.append(result)
                outcomes.append(Outcome(witness, timestamp(result.signature), ""))
    if found:
        kept = Note(note.text, (*note.signatures, *found))
        ledger.add_cosignatures(kept.to_bytes(), [witness.key for witness in witnesses])
    return Gathering(head.size, tuple(outcomes))


def _ask(
    ledger: Ledger, note: Note, size: int, witness: WitnessAddress, seconds: float, clock: Callable[[], float]
) -> SignatureLine:
    """One witness's cosignature, verified."""
    client = WebClient(witness.url, seconds=seconds)
    old_size = 0
    try:
        for _ in range(_ATTEMPTS):
            request = AddCheckpoint(old_size, ledger.consistency(old_size, size), note.to_bytes())
            reply = client.post("add-checkpoint", request.to_bytes(), MAX_NOTE)
            if reply.status == HTTPStatus.OK:
                return _cosignature(note, reply.body, witness.key, clock())
            if reply.status != HTTPStatus.CONFLICT:
                raise _Failed(f"refuses with {reply.status}: {_readable(reply.body)}")
            old_size = _named_size(reply.content_type, reply.body)
            if old_size > size:
                raise _Failed(f"has cosigned {old_size} records of this log, the ledger has {size}: was it set back?")
    finally:
        client.close()
    raise _Failed(f"names another size each time it is asked, {old_size} at last")


def _cosignature(note: Note, lines: bytes, key: WitnessKey, now: float) -> SignatureLine:
    """The newest of the witness's own lines in its answer; lines of other keys are ignored."""
    try:
        answered = Note.from_bytes(note.to_bytes() + lines)
        verified = [line for _, line in answered.verify([key])]
    except VerificationError as error:
        raise _Failed(f"its answer is no cosignature: {error.args[0]}") from error
    line = max(verified, key=lambda line: timestamp(line.signature))
    if timestamp(line.signature) > now + CLOCK_TOLERANCE:
        raise _Failed(f"its cosignature is of the future: {timestamp(line.signature)}, now it is {int(now)}")
    return line


def _named_size(content_type: str, body: bytes) -> int:
    """The size in a 409 answer."""
    try:
        if content_type != SIZE or not body.endswith(b"\n"):
            raise ValueError(f"{content_type!r} is not {SIZE!r}, or it is not a line")
        return parse_decimal(body[:-1].decode("ascii"))
    except ValueError as error:
        raise _Failed(f"refuses with 409, and no size: {error}") from error


def _readable(body: bytes) -> str:
    """The beginning of a stranger's text, without control characters."""
    text = body[: 4 * _REASON].decode("utf-8", "replace").strip()[:_REASON]
    return "".join(c if c.isprintable() else " " for c in text) or "no reason given"
