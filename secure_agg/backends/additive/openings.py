"""What the aggregators reveal of the shares' commitments, and what it opens: each client's own commitment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mpc.ntt import N
from mpc.ring import ELEMENT_BYTES, Vector, from_bytes
from mpc.vector_shares import Scheme, weighted_sum
from secure_agg.backends.additive import rules, shares
from secure_agg.backends.additive.wire import OpenedShares, Reveals
from secure_agg.backends.contract import Session
from secure_agg.errors import BadCommitment, MalformedMessage, PolicyViolation
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.messages import ADVERTISE, decode
from zk.commitment import Commitment
from zk.transcript import DIGEST_BYTES


def commitment_bytes(config: RoundConfig) -> int:
    """Bytes of one share's commitment."""
    return config.commitment.rank * N * ELEMENT_BYTES


def check_revealed(
    session: Session, survivors: Sequence[str], party: int, nonces: bytes, committed: bytes | memoryview
) -> None:
    """Check one aggregator's commitments against what the clients have signed.

    Args:
        survivors: S, in id order.
        nonces: 32 bytes for each.
        committed: a commitment for each.

    Raises:
        MalformedMessage: of a wrong size.
        BadCommitment: one is not what its client has signed; the culprit is that client's id, the fault this
            aggregator's, which has accepted the share.
    """
    size = commitment_bytes(session.config)
    if (len(nonces), len(committed)) != (len(survivors) * DIGEST_BYTES, len(survivors) * size):
        raise MalformedMessage(f"commitments of {len(survivors)} clients have another size", phase=rules.REVEAL)
    for place, name in enumerate(survivors):
        nonce = nonces[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES]
        item = bytes(committed[place * size : (place + 1) * size])
        signed = session.parts[name][party * DIGEST_BYTES : (party + 1) * DIGEST_BYTES]
        if rules.share_hash(session.config, name, party, item, nonce) != signed:
            raise BadCommitment("a share's commitment is not what its client has signed", culprit=name)


def check_reveals(
    session: Session, scheme: Scheme, survivors: Sequence[str], revealed: Reveals, bulk: memoryview
) -> dict[int, bytes]:
    """Check what all aggregators have revealed, and that it opens every commitment of S.

    Returns:
        The nonces, by aggregator.

    Raises:
        MalformedMessage, BadCommitment, PolicyViolation: as they say.
    """
    parties = [item.party for item in revealed.items]
    check_parties(scheme, parties, rules.PARTIAL_SUM)
    size = commitment_bytes(session.config) * len(survivors)
    if len(bulk) != size * len(parties):
        raise MalformedMessage(f"{len(bulk)} bytes of commitments, not {size * len(parties)}", phase=rules.PARTIAL_SUM)
    for place, item in enumerate(revealed.items):
        check_revealed(session, survivors, item.party, item.nonces, bulk[place * size : (place + 1) * size])
    for opening in openings_of(session.config, survivors, {item.party: item.nonces for item in revealed.items}, bulk):
        combine(session, scheme, opening[0], parties, opening[1])
    return {item.party: item.nonces for item in revealed.items}


def check_parties(scheme: Scheme, parties: Sequence[int], phase: str) -> None:
    """Enough aggregators, in order, each once.

    Raises:
        PolicyViolation: not so.
    """
    if list(parties) != sorted(set(parties)) or not set(parties) <= set(range(scheme.parties)):
        raise PolicyViolation("aggregators are not in order, each once", phase=phase)
    if len(parties) < scheme.threshold:
        raise PolicyViolation(f"{len(parties)} aggregators, {scheme.threshold} are needed", phase=phase)


def openings_of(
    config: RoundConfig, survivors: Sequence[str], nonces: Mapping[int, bytes], committed: bytes | memoryview
) -> list[tuple[str, bytes, bytes]]:
    """From aggregators' reveals, one after the other, to clients' openings.

    Returns:
        For each client its id, its shares' commitments by aggregator, and their nonces.
    """
    size, count = commitment_bytes(config), len(survivors)
    view = memoryview(committed)
    found = []
    for i, name in enumerate(survivors):
        places = [(j * count + i) * size for j in range(len(nonces))]
        opened = b"".join(view[place : place + size] for place in places)
        mine = b"".join(item[i * DIGEST_BYTES : (i + 1) * DIGEST_BYTES] for _, item in sorted(nonces.items()))
        found.append((name, opened, mine))
    return found


def combine(session: Session, scheme: Scheme, client: str, parties: Sequence[int], committed: bytes) -> Commitment:
    """A client's commitment from its shares' commitments; see ``combine_signed``."""
    return combine_signed(session.config, scheme, client, session.parts[client], parties, committed)


def combine_signed(
    config: RoundConfig, scheme: Scheme, client: str, hashes: bytes, parties: Sequence[int], committed: bytes
) -> Commitment:
    """A client's commitment from its shares' commitments, and from what it has signed of them.

    Raises:
        BadCommitment: not canonical, or they don't fit together, or combine to another commitment than the client has
            signed. It is the client's fault.
    """
    size = commitment_bytes(config)
    if len(hashes) != rules.hashes_bytes(config, scheme):
        raise BadCommitment("a client has signed fewer or more hashes than there are", phase=ADVERTISE, culprit=client)
    try:
        items: list[Vector] = [from_bytes(committed[i * size : (i + 1) * size]) for i in range(len(parties))]
    except ValueError as error:
        raise BadCommitment(str(error), culprit=client) from error
    basis, first = list(parties[: scheme.threshold]), items[: scheme.threshold]
    for party, item in zip(parties[scheme.threshold :], items[scheme.threshold :], strict=True):
        if Commitment(weighted_sum(first, scheme.implied(party, basis))) != Commitment(item):
            raise BadCommitment("a client's shares lie on no polynomial", phase=rules.REVEAL, culprit=client)
    found = Commitment(weighted_sum(first, scheme.weights(basis)))
    if (
        rules.whole_hash(config, client, found.to_bytes())
        != hashes[scheme.parties * DIGEST_BYTES : (scheme.parties + 1) * DIGEST_BYTES]
    ):
        raise BadCommitment(
            "a client's shares combine to another commitment than it has signed", phase=rules.REVEAL, culprit=client
        )
    return found


def open_client(session: Session, scheme: Scheme, name: str, committed: bytes, nonce: bytes) -> Commitment:
    """A client's commitment from its opening in the evidence.

    Raises:
        BadCommitment, MalformedMessage, PolicyViolation: as they say.
    """
    opened = decode(OpenedShares, nonce, 64 * (scheme.parties + 1), phase=rules.REVEAL, culprit=name)
    check_parties(scheme, opened.parties, rules.REVEAL)
    size = commitment_bytes(session.config)
    if (len(opened.nonces), len(committed)) != (len(opened.parties) * DIGEST_BYTES, len(opened.parties) * size):
        raise BadCommitment("an opening has another size than its shares", culprit=name)
    if shares.commitment_hash(session.config, name, session.parts[name]) != session.commitment_hashes[name]:
        raise BadCommitment("a commitment hash is not that of the advertised shares", culprit=name)
    for place, party in enumerate(opened.parties):
        item = committed[place * size : (place + 1) * size]
        its = opened.nonces[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES]
        signed = session.parts[name][party * DIGEST_BYTES : (party + 1) * DIGEST_BYTES]
        if rules.share_hash(session.config, name, party, item, its) != signed:
            raise BadCommitment("a share's commitment is not what its client has signed", culprit=name)
    return combine(session, scheme, name, opened.parties, committed)
