"""What can be proved of an edge's operator to anybody, from what it has signed itself.

* ``edge-seal``: it sealed another record than it shows. Exhibits: the roll, its message of phase ``unseal``.
* ``edge-commitment``: it took part in the top round with another commitment than the sum of its members'. Exhibits: its
  advertisement, its opening, its message of phase ``unseal``.

Messages of phase ``unseal`` are exhibited without their bulk, which is evidence and kept beside.
"""

from __future__ import annotations

from typing import Final

from secure_agg import backends
from secure_agg.errors import VerificationError, WrongContext
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.identity import verify_signature
from secure_agg.protocol.messages import (
    MAX_CONFIG,
    Header,
    Incoming,
    Message,
    Opening,
    Received,
    SignedAdvertisement,
    decode,
    encode,
    header_limit,
    pack,
    public_limit,
    read,
    signed_bytes,
)
from secure_agg.protocol.session import Session
from secure_agg.protocol.tree.record import UNSEAL, Roll, Unsealed, seal_of

EDGE_SEAL: Final = "edge-seal"
EDGE_COMMITMENT: Final = "edge-commitment"


def read_unsealed(data: Incoming, config: RoundConfig, name: str, public: bytes, *, bulk: range | None) -> Message:
    """An edge operator's message of phase ``unseal``, bound to the top's configuration.

    Args:
        bulk: sizes that the edge's evidence may have; None where it was left out, as in an exhibit.

    Raises:
        RemoteProtocolError: it is none; names the sender that it claims.
    """
    limit = header_limit(0) + (1 << 22)
    received = Received.of(data, limit)
    if bulk is not None:
        return read(
            received,
            limit=limit,
            bulk_sizes=bulk,
            session=config.context,
            phase=UNSEAL,
            recipients=("",),
            keys={name: public},
        )
    header = received.header
    if (header.session, header.phase, header.sender, header.recipient) != (config.context, UNSEAL, name, ""):
        raise WrongContext("the message is not the culprit's of this round", phase=UNSEAL)
    signed = signed_bytes(header.session, UNSEAL, name, "", header.body, header.bulk_digest)
    verify_signature(public, header.signature, signed, phase=UNSEAL, culprit=name)
    return Message(header, received.bulk)


def opened_by(config: RoundConfig, item: SignedAdvertisement, opening: Opening, public: bytes) -> bytes:
    """The commitment that an edge's operator has taken part in the top round with.

    Raises:
        RemoteProtocolError: the advertisement is not its own, or the opening is not of it.
    """
    body = item.verify(config.context, public)
    session = Session(
        config,
        b"",
        (item.name,),
        {item.name: public},
        {item.name: body.commitment_hash},
        {item.name: body.backend},
        {item.name: item},
        {},
    )
    backend = backends.load(config.policy.backend)
    return backend.open_commitment(session, item.name, opening.commitment, opening.nonce).to_bytes()


def _exhibit(header: Header) -> bytes:
    return pack(encode(header))


def wrong_seal(config: RoundConfig, public: bytes, roll: Roll, unsealed: Header) -> FaultProof:
    """An operator that shows another record than it sealed.

    Args:
        unsealed: of its message.
    """
    exhibits = (encode(roll), _exhibit(unsealed))
    return FaultProof(
        kind=EDGE_SEAL, culprit=unsealed.sender, public=public, config=config.to_bytes(), setup=b"", exhibits=exhibits
    )


def wrong_commitment(
    config: RoundConfig, public: bytes, item: SignedAdvertisement, opening: Opening, unsealed: Header
) -> FaultProof:
    """An operator whose commitment is not the sum of its members'."""
    shown = Opening(opening.name, opening.commitment, opening.nonce)
    exhibits = (encode(item), encode(shown), _exhibit(unsealed))
    return FaultProof(
        kind=EDGE_COMMITMENT, culprit=item.name, public=public, config=config.to_bytes(), setup=b"", exhibits=exhibits
    )


def check_edge_seal(proof: FaultProof, config: RoundConfig) -> None:
    """An operator takes part under a configuration only if its own seal is on the roll that this names."""
    roll = decode(Roll, proof.exhibits[0], MAX_CONFIG).check()
    if roll.digest() != config.instructions:
        raise VerificationError("the roll is not the configuration's")
    message = read_unsealed(proof.exhibits[1], config, proof.culprit, proof.public, bulk=None)
    unsealed, seal = Unsealed.from_bytes(message.body), roll.seal(proof.culprit)
    if seal is None or seal_of(config.task, proof.culprit, unsealed.record, unsealed.nonce) == seal:
        raise VerificationError("the record is the sealed one: there is no fault")


def check_edge_commitment(proof: FaultProof, config: RoundConfig) -> None:
    """What it has advertised opens to another commitment than is in the record that it shows."""
    item = decode(SignedAdvertisement, proof.exhibits[0], header_limit(0))
    opening = decode(Opening, proof.exhibits[1], public_limit(1))
    if item.name != proof.culprit or opening.name != proof.culprit:
        raise VerificationError("an exhibit is somebody else's")
    message = read_unsealed(proof.exhibits[2], config, proof.culprit, proof.public, bulk=None)
    if opened_by(config, item, opening, proof.public) == Unsealed.from_bytes(message.body).record.commitment_sum:
        raise VerificationError("the commitment is the sum of the edge's members': there is no fault")
