"""Section 24 of docs/specification.md a second time, from the document alone: nothing of the project is imported.

It reads greetings, signs and checks requests, and decodes models, with msgpack's form written out by hand.
"""

from __future__ import annotations

import base64
import hashlib
import struct
import urllib.parse
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

PROTOCOL = b"secure-agg/2"


def u64(value: int) -> bytes:
    return struct.pack("<Q", value)


def frame(label: str, *parts: bytes) -> bytes:
    return b"".join(u64(len(part)) + part for part in (PROTOCOL, label.encode(), *parts))


def hashed(label: str, *parts: bytes) -> bytes:
    return hashlib.sha256(frame(label, *parts)).digest()


def unpack(data: bytes, at: int = 0) -> tuple[Any, int]:
    """MessagePack: arrays, unsigned integers, text and bytes, which are all that section 24 has."""
    first = data[at]
    if first < 0x80:
        return first, at + 1
    if 0x90 <= first < 0xA0 or first in (0xDC, 0xDD):
        size, at = {0xDC: (2, at + 1), 0xDD: (4, at + 1)}.get(first, (0, at + 1))
        count = int.from_bytes(data[at : at + size], "big") if size else first & 0xF
        items, at = [], at + size
        for _ in range(count):
            item, at = unpack(data, at)
            items.append(item)
        return items, at
    if 0xA0 <= first < 0xC0:
        end = at + 1 + (first & 0x1F)
        return data[at + 1 : end].decode(), end
    size = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}[first]
    number = int.from_bytes(data[at + 1 : at + 1 + size], "big")
    if first in (0xCC, 0xCD, 0xCE, 0xCF):
        return number, at + 1 + size
    start = at + 1 + size
    value = data[start : start + number]
    return (value if first in (0xC4, 0xC5, 0xC6) else value.decode()), start + number


def whole(data: bytes) -> Any:
    value, end = unpack(data)
    assert end == len(data)
    return value


def place(task: str) -> str:
    return "/v1/" + hashed("service-task", task.encode()).hex()[:32]


def greeting(answer: bytes, nonce: bytes, key: bytes) -> tuple[str, str, bytes, bytes]:
    """Server, task, certificate's digest and challenge of a greeting that this key has signed."""
    length = int.from_bytes(answer[:4], "little")
    assert len(answer) == 4 + length <= 4096
    version, session, phase, sender, recipient, body, bulk, signature = whole(answer[4:])
    assert (version, session, phase, recipient, bulk) == (1, nonce, "service-hello", "", b"")
    signed = frame("message", session, phase.encode(), sender.encode(), recipient.encode(), body, bulk)
    Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
    one, task, certificate, challenge = whole(body)
    assert (one, len(certificate), len(challenge)) == (1, 32, 32)
    return sender, task, certificate, challenge


def headers(
    seed: bytes, member: str, server: str, key: bytes, challenge: bytes, task: str, path: str, counter: int, body: bytes
) -> dict[str, str]:
    """Of a request."""
    digest = hashlib.sha256(body).digest()
    who = (server.encode(), key, challenge, task.encode(), member.encode())
    signature = Ed25519PrivateKey.from_private_bytes(seed).sign(
        frame("service-request", *who, path.encode(), u64(counter), digest)
    )
    name = urllib.parse.quote(member, safe="")
    found = {"authorization": f"SecureAgg name={name}, counter={counter}, signature={signature.hex()}"}
    return found | ({"content-digest": f"sha-256=:{base64.b64encode(digest).decode()}:"} if body else {})


def model(data: bytes) -> list[tuple[str, tuple[int, ...], list[float]]]:
    """Type, shape and elements of each array."""
    length = int.from_bytes(data[:4], "little")
    version, shapes, types = whole(data[4 : 4 + length])
    (names,) = whole(types)
    assert version == 1
    arrays, at = [], 4 + length
    for shape, name in zip(shapes, names, strict=True):
        count, size = 1, int(name[1])
        for side in shape:
            count *= side
        letter = {"f2": "e", "f4": "f", "f8": "d"}[name]
        arrays.append((name, tuple(shape), list(struct.unpack(f"<{count}{letter}", data[at : at + count * size]))))
        at += count * size
    assert at == len(data)
    return arrays
