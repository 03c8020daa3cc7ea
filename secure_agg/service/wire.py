"""What is sent over HTTP, in both directions: paths, signed requests, greetings and models.

Section 24 of docs/specification.md has all of it. Payloads themselves are parcels, see ``plugins.core.parcels``.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import math
import re
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from mpc.framing import frame, integer
from secure_agg.errors import (
    BadSignature,
    ConfigError,
    MalformedMessage,
    SecureAggError,
    UnknownSender,
    WrongContext,
)
from secure_agg.fl.layers import Floats
from secure_agg.plugins.homes.chain import decode_arrays, encode_arrays
from secure_agg.protocol.codec import model_digest
from secure_agg.protocol.identity import Identity, Roster, check_id, verify_signature
from secure_agg.protocol.messages import NO_BULK, Wire, decode, encode, pack, read, unpack, write
from secure_agg.transport.channel import check_address
from zk.transcript import DIGEST_BYTES, digest

VERSION: Final = 1
NONCE_BYTES: Final = 32
GREETING: Final = "service-hello"
"""Phase of the message by which a server says that a certificate is its own; errors of a connection name it too."""
REQUEST: Final = "service-request"
"""Phase of errors about a request."""
MAX_GREETING: Final = 4096
MAX_REASON: Final = 64
"""Most bytes of a refusal: the name of an error."""
ITEM_BYTES: Final = 16
_OFFER_BYTES: Final = 512
"""Most bytes of one entry of the list of what is proposed."""
MAX_PLACE: Final = 1 << 10
"""Most bytes of how far a party has come, who asks for epochs."""

SCHEME: Final = "SecureAgg"
"""Of the header ``Authorization``."""
ITEM: Final = "secure-agg-item"
MODEL: Final = "secure-agg-model"
LEFT: Final = "secure-agg-seconds"
AGAIN: Final = "secure-agg-counter"
OPEN: Final = "secure-agg-proposals"
"""Headers of answers: which payload this is, the digest of the model that it is about, how many seconds are left to
answer it; the last counter, where a request's was not above it; how many proposals lie open, where some do.
"""

_MAX_MODEL_HEADER: Final = 1 << 22
_MAX_COUNTER: Final = 1 << 63
_AUTHORIZATION: Final = re.compile(
    rf"{SCHEME} name=([^ ,]{{1,384}}), counter=([0-9]{{1,19}}), signature=([0-9a-f]{{128}})"
)
_REASON: Final = re.compile(r"[A-Za-z]{1,64}")


def place(task: str) -> str:
    """The path of a task below ``/v1``: 32 hexadecimal digits, whatever its id is made of."""
    return digest("service-task", task.encode()).hex()[:32]


def address(text: str) -> tuple[str, int]:
    """Host, without brackets, and port of ``HOST:PORT``.

    Raises:
        ConfigError: it is not of this form.
    """
    host, _, port = check_address(text).rpartition(":")
    return host.strip("[]"), int(port)


def shown(host: str, port: int) -> str:
    """The text of an address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def content_digest(body: bytes | memoryview) -> str:
    """The header ``Content-Digest`` of a body (RFC 9530)."""
    return written_digest(hashlib.sha256(body).digest())


def written_digest(sha256: bytes) -> str:
    """The same, of a body with this SHA-256."""
    return f"sha-256=:{base64.b64encode(sha256).decode('ascii')}:"


def read_digest(header: str) -> bytes:
    """The SHA-256 that a header ``Content-Digest`` names.

    Raises:
        MalformedMessage: it is not as ``content_digest`` writes it.
    """
    try:
        found = base64.b64decode(header.removeprefix("sha-256=:").removesuffix(":"), validate=True)
    except ValueError:
        found = b""
    if len(found) != DIGEST_BYTES or written_digest(found) != header:
        raise MalformedMessage("the request has no Content-Digest by SHA-256", phase=REQUEST)
    return found


# --- greetings ------------------------------------------------------------------------------------------------


class Greeting(Wire, frozen=True):
    """What a server signs about a connection.

    Attributes:
        version: 1.
        task: that it coordinates.
        certificate: SHA-256 of the TLS certificate, in DER, that it shows.
        challenge: 32 random bytes of this process, which every request is signed for.
    """

    version: int
    task: str
    certificate: bytes
    challenge: bytes


class Greeted(NamedTuple):
    """A server that has shown who it is: its id and key, and the challenge of its process."""

    server: str
    key: bytes
    challenge: bytes


def greet(server: Identity, nonce: bytes, task: str, certificate: bytes, challenge: bytes) -> bytes:
    """A server's answer to a client's ``nonce``."""
    said = Greeting(VERSION, task, hashlib.sha256(certificate).digest(), challenge)
    return write(server, nonce, GREETING, "", encode(said))


def check_greeting(answer: bytes, nonce: bytes, task: str, certificate: bytes, operators: Roster) -> Greeted:
    """Check that whoever shows a certificate is a pinned server of this task, now.

    Args:
        answer: to ``nonce``, 32 random bytes of this connection.
        certificate: in DER, which the connection has shown.
        operators: that are pinned.

    Raises:
        RemoteProtocolError: it is somebody else, the greeting is of another connection or certificate, or the server
            coordinates another task.
    """
    try:
        message = read(
            answer,
            limit=MAX_GREETING,
            bulk_sizes=NO_BULK,
            session=nonce,
            phase=GREETING,
            recipients=("",),
            keys=dict(operators),
        )
    except SecureAggError as error:
        error.culprit = None  # whoever has answered is not known yet, and can have written any name
        raise
    sender = message.header.sender
    said = decode(Greeting, message.body, MAX_GREETING, phase=GREETING, culprit=sender)
    if said.version != VERSION or len(said.challenge) != NONCE_BYTES:
        raise MalformedMessage(f"a greeting of version {said.version}, not {VERSION}", phase=GREETING, culprit=sender)
    if said.task != task:
        raise WrongContext(f"the server coordinates {said.task!r}, not {task!r}", phase=GREETING, culprit=sender)
    if said.certificate != hashlib.sha256(certificate).digest():
        # Somebody between the two shows a certificate of its own. The server has signed for its own, so it isn't named.
        raise WrongContext("the connection's certificate is not the one that the server has signed", phase=GREETING)
    return Greeted(sender, operators[sender], said.challenge)


# --- requests -------------------------------------------------------------------------------------------------


class Claim(NamedTuple):
    """Who says that a request is theirs, before anything is checked."""

    name: str
    counter: int
    signature: bytes


def _signed(to: Greeted, task: str, name: str, path: str, counter: int, body: bytes) -> bytes:
    who = (to.server.encode(), to.key, to.challenge, task.encode(), name.encode())
    return frame("service-request", *who, path.encode(), integer(counter), body)


def authorize(member: Identity, to: Greeted, task: str, path: str, counter: int, body: bytes) -> str:
    """The header ``Authorization`` of a request.

    Args:
        to: whom it is for.
        path: of the request.
        counter: above those of all requests of this member before.
        body: SHA-256 of what is sent.
    """
    signature = member.sign(_signed(to, task, member.name, path, counter, body))
    name = urllib.parse.quote(member.name, safe="")
    return f"{SCHEME} name={name}, counter={counter}, signature={signature.hex()}"


def claim(header: str) -> Claim:
    """Parse a header ``Authorization``.

    Raises:
        MalformedMessage: it is not as ``authorize`` writes it.
    """
    found = _AUTHORIZATION.fullmatch(header)
    try:
        name = check_id(urllib.parse.unquote(found[1], errors="strict")) if found else ""
    except (ConfigError, UnicodeDecodeError):
        name = ""
    if found is None or not name or urllib.parse.quote(name, safe="") != found[1] or int(found[2]) >= _MAX_COUNTER:
        raise MalformedMessage("the request is not signed", phase=REQUEST)
    return Claim(name, int(found[2]), bytes.fromhex(found[3]))


def check_request(said: Claim, to: Greeted, task: str, path: str, body: bytes, rosters: Sequence[Roster]) -> int:
    """Check a request's signature under a key that its member has, in any of these rosters.

    Returns:
        The place of the first roster with the key that has signed.

    Raises:
        UnknownSender: nobody of this name is a member.
        BadSignature: it is another one's request, or for another server, process, task, path or body.
    """
    keys: dict[bytes, int] = {}
    for place, roster in enumerate(rosters):
        if said.name in roster:
            keys.setdefault(roster[said.name], place)
    if not keys:
        raise UnknownSender("a request of nobody who is a member", phase=REQUEST, culprit=said.name)
    signed = _signed(to, task, said.name, path, said.counter, body)
    for key, place in keys.items():
        # Anybody can put a member's name on a request: a signature that fails is nobody's fault.
        with contextlib.suppress(BadSignature):
            verify_signature(key, said.signature, signed, phase=REQUEST, culprit=None)
            return place
    raise BadSignature("a signature does not verify under a key of its member", phase=REQUEST)


def is_reason(text: str) -> bool:
    """Whether a text is the name of an error, as far as its letters go."""
    return _REASON.fullmatch(text) is not None


def reason(body: bytes) -> str:
    """The name of an error, as a member has sent it.

    Raises:
        MalformedMessage: it is none.
    """
    text = body.decode("ascii", "replace")
    if not is_reason(text):
        raise MalformedMessage("a refusal is the name of an error", phase=REQUEST)
    return text


# --- what is proposed -----------------------------------------------------------------------------------------


class Shown(Wire, frozen=True):
    """One proposal that lies open: who has brought it, and the digest of what it says."""

    by: str
    digest: bytes


class Listed(Wire, frozen=True):
    """All that lie open.

    Attributes:
        version: 1.
        offers: one of a party at most, in the order of their digests.
    """

    version: int
    offers: tuple[Shown, ...]


def list_offers(offers: Mapping[bytes, str]) -> bytes:
    """The answer to ``proposals``.

    Args:
        offers: who has brought each, by its digest.
    """
    return encode(Listed(VERSION, tuple(Shown(offers[digest], digest) for digest in sorted(offers))))


def list_limit(parties: int) -> int:
    """Most bytes of the list of what so many parties can have proposed."""
    return _OFFER_BYTES * (1 + parties)


def read_offers(data: bytes | memoryview, parties: int) -> tuple[Shown, ...]:
    """What a server says lies open.

    Args:
        parties: that may have proposed something, of whom each has one.

    Raises:
        MalformedMessage: it is no such list, or longer.
    """
    said = decode(Listed, data, list_limit(parties), phase=REQUEST)
    if len(said.offers) > parties:
        raise MalformedMessage(f"a list of {len(said.offers)} proposals by {parties} parties", phase=REQUEST)
    found = [offer.digest for offer in said.offers]
    try:
        for offer in said.offers:
            check_id(offer.by)
    except ConfigError as error:
        raise MalformedMessage(f"a list of proposals by nobody: {error.args[0]}", phase=REQUEST) from error
    if said.version != VERSION or any(len(each) != DIGEST_BYTES for each in found) or found != sorted(set(found)):
        raise MalformedMessage(f"a list of version {said.version} and {len(found)} proposals", phase=REQUEST)
    return said.offers


# --- models ---------------------------------------------------------------------------------------------------


class _ModelHeader(Wire, frozen=True):
    version: int
    shapes: tuple[tuple[int, ...], ...]
    types: bytes


def encode_model(model: Floats) -> tuple[bytes, bytes]:
    """A model's arrays, in two pieces: what stands before the elements, and they."""
    types, data = encode_arrays(model)
    return pack(encode(_ModelHeader(VERSION, tuple(array.shape for array in model), types))), data


class AnswerTooLong(MalformedMessage):
    """An answer of more bytes, or of a larger model, than what was asked for can have."""


def most_model_bytes(max_parameters: int) -> int:
    """Most bytes of a model of so many parameters."""
    return 4 + _MAX_MODEL_HEADER + 8 * max_parameters


def decode_model(data: bytes | memoryview, expected: bytes, max_parameters: int) -> list[npt.NDArray[Any]]:
    """A model's arrays, float16, float32 or float64: views of ``data``.

    Args:
        expected: its digest.
        max_parameters: most elements.

    Raises:
        AnswerTooLong: it has more elements.
        MalformedMessage: it is none, or not this one.
    """
    header, elements = unpack(data, _MAX_MODEL_HEADER)
    said = decode(_ModelHeader, header, _MAX_MODEL_HEADER, phase=GREETING)
    if said.version != VERSION or any(side < 0 for shape in said.shapes for side in shape):
        raise MalformedMessage(f"a model of version {said.version} and {len(said.shapes)} arrays", phase=GREETING)
    if sum(math.prod(shape) for shape in said.shapes) > max_parameters:
        raise AnswerTooLong(f"a model of more than {max_parameters} parameters", phase=GREETING)
    arrays = decode_arrays(said.types, elements, said.shapes)
    if model_digest(arrays) != expected:
        raise MalformedMessage("the model is not the one that was announced", phase=GREETING)
    return [np.array(array) for array in arrays]  # training may write to them


def header(headers: Mapping[str, str], name: str, size: int) -> bytes:
    """Bytes that a header has in hexadecimal.

    Raises:
        MalformedMessage: not so many.
    """
    text = headers.get(name, "")
    if not re.fullmatch(rf"[0-9a-f]{{{2 * size}}}", text):
        raise MalformedMessage(f"a header {name} that is no {size} bytes", phase=REQUEST)
    return bytes.fromhex(text)
