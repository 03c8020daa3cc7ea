"""From a letter to a share: what an aggregator does on arrival, and whoever checks its proof that a client is at
fault.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mpc.ring import ELEMENT_BYTES, Vector, from_bytes
from mpc.vector_shares import Scheme, expand
from secure_agg.backends.additive import rules, wire
from secure_agg.backends.additive.wire import ShareLetter
from secure_agg.errors import BadShare, MalformedMessage
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.messages import decode, header_limit
from zk.transcript import DIGEST_BYTES, digest


@dataclass(frozen=True, eq=False)  # arrays have no truth value
class OpenedShare:
    """A client's share for one aggregator.

    Attributes:
        vector: the share.
        commitment: h(share), encoded.
        nonce: with which its hash was made.
    """

    vector: Vector = field(repr=False)
    commitment: bytes
    nonce: bytes = field(repr=False)


def commitment_hash(config: RoundConfig, client: str, hashes: bytes) -> bytes:
    """D_i: it fixes all shares, and so what they sum up to."""
    return digest("share-commitments", config.context, client.encode(), hashes)


def read_letter(config: RoundConfig, scheme: Scheme, client: str, body: bytes) -> ShareLetter:
    """Decode a letter.

    Raises:
        MalformedMessage: not canonical, or a part of a wrong size.
    """
    letter = decode(ShareLetter, body, header_limit(0), phase=rules.SHARE, culprit=client)
    sizes = (len(letter.ephemeral), len(letter.key_hash), len(letter.hashes))
    if sizes != (32, DIGEST_BYTES, rules.hashes_bytes(config, scheme)):
        raise MalformedMessage("a part of a letter has a wrong size", phase=rules.SHARE, culprit=client)
    return letter


def open_share(
    config: RoundConfig,
    scheme: Scheme,
    session: bytes,
    client: str,
    party: int,
    name: str,
    letter: ShareLetter,
    bulk: memoryview,
    key: bytes,
) -> OpenedShare:
    """Open a letter with the key that it is bound to, and check the share's equation: H(h(share), nonce) is what its
    client has signed.

    Args:
        session: sid.
        client: who sent it.
        party: number of the aggregator it is for, from 0.
        name: id of this aggregator.
        key: that seals it; the caller has checked its hash.

    Raises:
        BadShare: whatever is wrong is the client's fault, and this letter and key show it.
    """

    def refuse(reason: str) -> BadShare:
        return BadShare(reason, phase=rules.SHARE, culprit=client)

    length = config.layout.hashed
    long = party in scheme.long_holders(rules.start_of(config, client, scheme.parties))
    size = length * ELEMENT_BYTES + wire.SEAL_BYTES if long else 0
    if len(bulk) != size:
        raise refuse(f"a share of {len(bulk)} sealed bytes, not {size}")
    try:
        nonce, seed, data = wire.unseal(key, session, client, name, letter.hashes, letter.sealed, bulk)
        vector = from_bytes(data) if long else expand(wire.stream_key(seed, session, client, name), length)
    except ValueError as error:
        raise refuse(str(error)) from error
    committed = rules.linear_hash(config, vector).to_bytes()
    signed = letter.hashes[party * DIGEST_BYTES : (party + 1) * DIGEST_BYTES]
    if rules.share_hash(config, client, party, committed, nonce) != signed:
        raise refuse("a share is not the one whose hash its client has signed")
    return OpenedShare(vector, committed, nonce)


def read_vector(config: RoundConfig, data: bytes | memoryview) -> Vector:
    """A whole vector of a round, as it is sent.

    Raises:
        ValueError: another length, or an element that is not canonical.
    """
    if len(data) != config.layout.hashed * ELEMENT_BYTES:
        raise ValueError(f"{len(data)} bytes are no vector of {config.layout.hashed} elements")
    return from_bytes(data)
