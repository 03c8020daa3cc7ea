"""Role *witness* (C2SP tlog-witness): cosigns a log's checkpoints as long as each continues the last.

No sockets here: the text of a request goes in, status and body come out; ``witness_server`` speaks HTTP. What was
cosigned is durable before the answer leaves.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from secure_agg.errors import ConfigError, VerificationError
from secure_agg.ledger.witness.fork import find_fork
from secure_agg.ledger.witness.state import Cosigned, WitnessState
from secure_agg.protocol.identity import Identity
from secure_agg.tlog.checkpoint import Checkpoint, parse_decimal, parse_hash
from secure_agg.tlog.cosignature import cosign
from secure_agg.tlog.note import MAX_NOTE, Note, SignatureLine, VerifierKey, encode_base64
from secure_agg.tlog.proof import check_consistency
from zk import merkle

MAX_PROOF_LINES: Final = 63
MAX_REQUEST: Final = MAX_NOTE + 64 + MAX_PROOF_LINES * 45
"""Most bytes of a request: a note, 63 lines of a hash each, and the line of the old size."""
MAX_TEXT: Final = 16 << 10
"""Most bytes of a checkpoint without its signatures: what is kept of it. Extension lines alone can make it long."""
TEXT: Final = "text/plain; charset=utf-8"
SIZE: Final = "text/x.tlog.size"
BINARY: Final = "application/octet-stream"


@dataclass(frozen=True)
class AddCheckpoint:
    """The body of an add-checkpoint request.

    Attributes:
        old_size: of the checkpoint that the witness has cosigned last, as the sender believes; 0 for none.
        proof: RFC 6962 consistency proof from it; at most 63 hashes.
        note: the checkpoint, encoded.
    """

    old_size: int
    proof: tuple[bytes, ...]
    note: bytes

    def to_bytes(self) -> bytes:
        """The one encoding."""
        lines = (f"old {self.old_size}", *map(encode_base64, self.proof))
        return "".join(f"{line}\n" for line in lines).encode() + b"\n" + self.note

    @staticmethod
    def from_bytes(data: bytes) -> AddCheckpoint:
        """Parse strictly; the note is not looked into.

        Raises:
            VerificationError: not of this form, or too long.
        """
        if len(data) > MAX_REQUEST:
            raise VerificationError(f"a request has at most {MAX_REQUEST} bytes, not {len(data)}")
        header, separator, note = data.partition(b"\n\n")
        try:
            if not separator:
                raise ValueError("there is no empty line before the checkpoint")
            old, *proof = header.decode("ascii").split("\n")
            word, _, size = old.partition(" ")
            if word != "old" or len(proof) > MAX_PROOF_LINES:
                raise ValueError(f"it is not an old size and at most {MAX_PROOF_LINES} hashes")
            return AddCheckpoint(parse_decimal(size), tuple(map(parse_hash, proof)), note)
        except ValueError as error:
            raise VerificationError(f"malformed request: {error}") from error


@dataclass(frozen=True)
class Answer:
    """What goes back.

    Attributes:
        status: of HTTP, by tlog-witness.
        body: its content.
        content_type: of the body.
    """

    status: HTTPStatus
    body: bytes
    content_type: str = TEXT


class _Refused(Exception):
    """A request that gets another answer than a cosignature; nothing was changed."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Witness:
    """A witness of some logs. Safe to share between threads; processes may share its state."""

    def __init__(
        self,
        identity: Identity,
        logs: Iterable[VerifierKey],
        state: WitnessState,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            identity: holds the key that cosigns, and nothing else: the signed text does not name the witness.
            logs: keys of the logs that are witnessed, each named like its log's origin; several for one are allowed.
            state: of the same key; its name is the witness's.
            clock: POSIX time in seconds.

        Raises:
            ConfigError: the state is of another key, a log has the witness's own key, or no log is given.
        """
        self.key = state.key
        self._identity = identity
        self._state = state
        self._clock = clock
        self._logs: dict[str, list[VerifierKey]] = {}
        for log in logs:
            if log.public == self.key.public:
                raise ConfigError(f"log {log.name!r} has the witness's own key")
            Checkpoint(log.name, 0, merkle.EMPTY_ROOT)  # else nothing that it signs could be read
            self._logs.setdefault(log.name, []).append(log)
        if not self._logs:
            raise ConfigError("a witness needs the key of at least one log")
        if identity.public != self.key.public:
            raise ConfigError("the identity is not the one that the witness's state is of")
        self._origins = {hashlib.sha256(origin.encode()).hexdigest(): origin for origin in self._logs}

    @property
    def origins(self) -> tuple[str, ...]:
        """Of the logs that are witnessed."""
        return tuple(self._logs)

    def add_checkpoint(self, body: bytes) -> Answer:
        """Decide on a request of ``POST <prefix>/add-checkpoint``.

        Returns:
            200 with the cosignature's line; 400 malformed, or an old size above the checkpoint's; 403 not signed
            by the log, or badly; 404 a log that is not witnessed; 409 another size than the last one cosigned,
            which is the body; 422 not a continuation of what was cosigned.

        Raises:
            LedgerError: the state can't be read or written; nothing was cosigned.
        """
        try:
            request, note, log_lines = self._read(body)
            return self._decide(request, note, log_lines)
        except _Refused as refusal:
            return Answer(refusal.status, f"{refusal}\n".encode())

    def checkpoint(self, origin_hash: str) -> Answer:
        """The latest cosigned checkpoint, for ``GET <prefix>/<origin hash>/checkpoint``; 404 where there is none.

        Args:
            origin_hash: lower-case hexadecimal SHA-256 of the log's origin.

        Raises:
            LedgerError: the state can't be read.
        """
        origin = self._origins.get(origin_hash)
        latest = self._state.latest(origin) if origin is not None else None
        if latest is None:
            return Answer(HTTPStatus.NOT_FOUND, b"no checkpoint of this log was cosigned\n")
        return Answer(HTTPStatus.OK, latest.note.to_bytes())

    def fork(self, origin_hash: str) -> Answer:
        """The proof that a log has forked (``ForkProof``), for ``GET <prefix>/<origin hash>/fork``; 404 for none.

        This is an extension of the protocol.

        Raises:
            LedgerError: the state can't be read.
        """
        origin = self._origins.get(origin_hash)
        proof = self._state.fork(origin) if origin is not None else None
        if proof is None:
            return Answer(HTTPStatus.NOT_FOUND, b"no fork of this log was seen\n")
        return Answer(HTTPStatus.OK, proof, BINARY)

    def _read(self, body: bytes) -> tuple[AddCheckpoint, Note, tuple[SignatureLine, ...]]:
        """The request and its note, with a line of each of the log's keys that signed it, verified."""
        try:
            request = AddCheckpoint.from_bytes(body)
            note = Note.from_bytes(request.note)
            if len(note.text.encode()) > MAX_TEXT:
                raise VerificationError(f"a checkpoint has at most {MAX_TEXT} bytes before its signatures")
        except VerificationError as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, str(error.args[0])) from error
        keys = self._logs.get(note.text.partition("\n")[0])
        if keys is None:
            raise _Refused(HTTPStatus.NOT_FOUND, "this log is not witnessed here")
        try:
            verified = note.verify(keys)
        except VerificationError as error:
            raise _Refused(HTTPStatus.FORBIDDEN, str(error.args[0])) from error
        return request, note, tuple(dict(verified).values())

    def _decide(self, request: AddCheckpoint, note: Note, log_lines: tuple[SignatureLine, ...]) -> Answer:
        try:
            checkpoint = Checkpoint.parse(note.text)
        except VerificationError as error:
            status = _false_empty_tree(note.text)
            raise _Refused(status, str(error.args[0])) from error
        if request.old_size > checkpoint.size:
            reason = f"the old size {request.old_size} is above the checkpoint's, {checkpoint.size}"
            raise _Refused(HTTPStatus.BAD_REQUEST, reason)
        origin = checkpoint.origin
        with self._state.exclusive():
            latest = self._state.latest(origin)
            size, root = (latest.checkpoint.size, latest.checkpoint.root) if latest else (0, merkle.EMPTY_ROOT)
            if request.old_size != size:
                return Answer(HTTPStatus.CONFLICT, f"{size}\n".encode(), SIZE)
            try:
                check_consistency(size, checkpoint.size, root, checkpoint.root, request.proof)
            except VerificationError as error:
                self._look_for_fork(latest, Note(note.text, log_lines), request.proof)
                return Answer(HTTPStatus.UNPROCESSABLE_ENTITY, f"{error.args[0]}\n".encode())
            # Never before the last one: «the largest tree seen by then» would be false of the smaller.
            seconds = max(int(self._clock()), latest.seconds if latest else 0)
            line = cosign(self._identity, self.key.name, checkpoint, seconds)
            self._state.keep(origin, Note(note.text, (*log_lines, line)))
        return Answer(HTTPStatus.OK, f"{line}\n".encode())

    def _look_for_fork(self, latest: Cosigned | None, refused: Note, proof: Sequence[bytes]) -> None:
        """Keep the proof if the refused checkpoint shows that its log has signed two histories."""
        if latest is None:
            return
        origin = latest.checkpoint.origin
        for log in self._logs[origin]:
            try:
                # Only the log's lines: a proof is about the log, and short.
                lines = tuple(line for line in latest.note.signatures if log.made(line))
                found = find_fork(Note(latest.note.text, lines).to_bytes(), refused.to_bytes(), proof, log)
            except (ConfigError, VerificationError):
                continue  # signed by another of the log's keys
            if found is not None:
                self._state.keep_fork(origin, found.to_bytes())


def _false_empty_tree(text: str) -> HTTPStatus:
    """The status for a malformed checkpoint: 422 if all that is wrong is that an empty tree has a root of its own."""
    _, size, root, *_ = (*text.split("\n"), "", "", "")
    try:
        wrong = size == "0" and parse_hash(root) != merkle.EMPTY_ROOT
    except ValueError:
        wrong = False
    return HTTPStatus.UNPROCESSABLE_ENTITY if wrong else HTTPStatus.BAD_REQUEST
