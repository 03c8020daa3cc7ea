"""What can be proved of a client or an aggregator to anybody, from messages that it has signed itself.

* ``bad-share``: a client sealed an aggregator something else than the share whose hash it signed.
  Exhibits: its letter, and the key that the letter is bound to.
* ``two-commitments``: a client sent shares of other hashes than it advertised. Exhibits: its advertisement, its letter.
* ``bad-shares``: a client signed hashes of shares that don't combine to the commitment whose hash it signed.
  Exhibits: its advertisement, the nonces of the opened shares, their commitments.
* ``bad-reveal``: an aggregator vouched for a client's share, and revealed another commitment than the client signed.
  Exhibits: the set, the client's hashes, what it revealed.
* ``bad-partial-sum``: an aggregator's partial sum is not that of the shares whose commitments it revealed.
  Exhibits: the set, what it revealed, the partial sum.
* ``two-sets``: an aggregator signed two sets for one round, whatever the attempt.
  Exhibits: set and signature; the other attempt's configuration, set and signature.

What can't be proved: a letter that is bound to another key than its aggregator derives (client and aggregator say
different things, and only the aggregator's secret would tell), a letter that did not arrive, silence, and a vector of
hash zero that somebody has added on purpose: the sum then fails its range check, and nobody can be named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from mpc.vector_shares import Scheme
from secure_agg.backends.additive import openings, rules, shares, wire
from secure_agg.backends.additive.wire import OpenedShares, PartialSum, Revealed
from secure_agg.backends.contract import session_id
from secure_agg.backends.contract.setup import AggregatorSet, read_setup
from secure_agg.errors import BadCommitment, BadShare, RemoteProtocolError, VerificationError
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.identity import verify_signature
from secure_agg.protocol.messages import (
    CONSISTENCY,
    MAX_CONFIG,
    Advertisement,
    Message,
    Received,
    SignedAdvertisement,
    Statement,
    decode,
    encode,
    header_limit,
    pack,
    read,
)
from zk.commitment import Commitment, add
from zk.transcript import DIGEST_BYTES


def sum_of(config: RoundConfig, committed: bytes | memoryview) -> Commitment:
    """The sum of commitments that are encoded one after the other.

    Raises:
        ValueError: not canonical.
    """
    size = openings.commitment_bytes(config)
    return add(
        [
            Commitment.from_bytes(committed[place : place + size], config.commitment.rank)
            for place in range(0, len(committed), size)
        ]
    )


def accuse(
    kind: str,
    config: RoundConfig,
    setup: bytes,
    aggregators: AggregatorSet,
    name: str,
    statement: Statement,
    messages: Sequence[Message],
    hashes: bytes = b"",
) -> FaultProof:
    """What is to be shown of an aggregator that has answered wrongly after it has signed a set."""
    shown = tuple(pack(encode(message.header), message.bulk) for message in messages)
    return FaultProof(
        kind=kind,
        culprit=name,
        public=aggregators.identities[name],
        config=config.to_bytes(),
        setup=setup,
        exhibits=(encode(statement), *((hashes,) if hashes else ()), *shown),
    )


def two_sets(
    config: RoundConfig, setup: bytes, name: str, public: bytes, first: tuple[Statement, bytes],
    other_config: RoundConfig, second: tuple[Statement, bytes],
) -> FaultProof:  # fmt: skip
    """Two sets with the signatures of one aggregator, for whoever has come by both."""
    return FaultProof(
        kind=rules.TWO_SETS,
        culprit=name,
        public=public,
        config=config.to_bytes(),
        setup=setup,
        exhibits=(encode(first[0]), first[1], other_config.to_bytes(), encode(second[0]), second[1]),
    )


def check(scheme: Scheme, config: RoundConfig, proof: FaultProof) -> None:
    """Check that a proof shows what its kind says. Whether the culprit's key is pinned is the caller's to check.

    Raises:
        VerificationError: it does not.
    """
    checker = _CHECKS.get(proof.kind)
    if checker is None:
        raise VerificationError(f"backend 'additive' knows no fault of kind {proof.kind!r}")
    kinds, check_kind = checker
    if len(proof.exhibits) != kinds:
        raise VerificationError(f"{len(proof.exhibits)} exhibits, not {kinds}")
    try:
        aggregators = read_setup(config, proof.setup, scheme.parties)
        check_kind(scheme, config, aggregators, proof)
    except RemoteProtocolError as error:
        raise VerificationError(f"an exhibit is none: {error.args[0]}") from error
    except ValueError as error:
        raise VerificationError(f"an exhibit is none: {error}") from error


def _message(proof: FaultProof, config: RoundConfig, data: bytes, phase: str) -> Message:
    """A message that the culprit has signed in this round's phase."""
    limit = header_limit(config.cohort_size)
    received = Received.of(data, limit)
    return read(
        received,
        limit=limit,
        bulk_sizes=None,
        session=session_id(config, None),
        phase=phase,
        recipients=(received.header.recipient,),
        keys={proof.culprit: proof.public},
    )


def _aggregator(aggregators: AggregatorSet, proof: FaultProof) -> int:
    if aggregators.identities.get(proof.culprit) != proof.public:
        raise VerificationError(f"{proof.culprit!r} with this key is no aggregator of the round")
    return aggregators.names.index(proof.culprit)


def _bad_share(scheme: Scheme, config: RoundConfig, aggregators: AggregatorSet, proof: FaultProof) -> None:
    data, key = proof.exhibits
    message = _message(proof, config, data, rules.SHARE)
    recipient = message.header.recipient
    if recipient not in aggregators.names:
        raise VerificationError(f"the letter is for {recipient!r}, who is no aggregator of the round")
    letter = shares.read_letter(config, scheme, proof.culprit, message.body)
    sid = session_id(config, None)
    if wire.key_hash(sid, proof.culprit, recipient, key) != letter.key_hash:
        raise VerificationError("the key is not the one that the letter is bound to")
    party = aggregators.names.index(recipient)
    try:
        shares.open_share(config, scheme, sid, proof.culprit, party, recipient, letter, message.bulk, key)
    except BadShare:
        return
    raise VerificationError("the share is the one whose hash its client has signed: there is no fault")


def _advertised(config: RoundConfig, proof: FaultProof, data: bytes) -> Advertisement:
    item = decode(SignedAdvertisement, data, header_limit(0))
    if item.name != proof.culprit:
        raise VerificationError("the advertisement is somebody else's")
    return item.verify(config.context, proof.public)


def _two_commitments(scheme: Scheme, config: RoundConfig, aggregators: AggregatorSet, proof: FaultProof) -> None:
    advertised, data = proof.exhibits
    letter = shares.read_letter(config, scheme, proof.culprit, _message(proof, config, data, rules.SHARE).body)
    hashed = shares.commitment_hash(config, proof.culprit, letter.hashes)
    shown = _advertised(config, proof, advertised)
    if (shown.commitment_hash, shown.backend) == (hashed, letter.hashes):
        raise VerificationError("the letter is the advertised one: there is no fault")


def _bad_shares(scheme: Scheme, config: RoundConfig, aggregators: AggregatorSet, proof: FaultProof) -> None:
    advertised, opened, committed = proof.exhibits
    part = _advertised(config, proof, advertised).backend
    shown = decode(OpenedShares, opened, header_limit(0))
    openings.check_parties(scheme, shown.parties, rules.REVEAL)
    size = openings.commitment_bytes(config)
    if (len(part), len(shown.nonces), len(committed)) != (
        rules.hashes_bytes(config, scheme),
        len(shown.parties) * DIGEST_BYTES,
        len(shown.parties) * size,
    ):
        raise VerificationError("an exhibit has a wrong size")
    for place, party in enumerate(shown.parties):
        nonce = shown.nonces[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES]
        hashed = rules.share_hash(config, proof.culprit, party, committed[place * size : (place + 1) * size], nonce)
        if hashed != part[party * DIGEST_BYTES : (party + 1) * DIGEST_BYTES]:
            raise VerificationError("a commitment is not what the client has signed")
    try:
        openings.combine_signed(config, scheme, proof.culprit, part, shown.parties, committed)
    except BadCommitment:
        return
    raise VerificationError("the shares combine to what the client has signed: there is no fault")


def _revealed(
    config: RoundConfig, proof: FaultProof, statement: bytes, data: bytes
) -> tuple[Statement, Revealed, memoryview]:
    """What an aggregator has revealed, for a set that it names itself."""
    found = decode(Statement, statement, header_limit(config.cohort_size))
    message = _message(proof, config, data, rules.REVEAL)
    answer = decode(Revealed, message.body, header_limit(config.cohort_size))
    if answer.root != rules.SignedByAggregators().root(found):
        raise VerificationError("the aggregator speaks of another set")
    return found, answer, message.bulk


def _bad_reveal(scheme: Scheme, config: RoundConfig, aggregators: AggregatorSet, proof: FaultProof) -> None:
    statement, hashes, data = proof.exhibits
    party = _aggregator(aggregators, proof)
    found, answer, bulk = _revealed(config, proof, statement, data)
    size = openings.commitment_bytes(config)
    if (len(answer.nonces), len(bulk)) != (len(found.entries) * DIGEST_BYTES, len(found.entries) * size):
        return
    for place, entry in enumerate(found.entries):
        if shares.commitment_hash(config, entry.name, hashes) == entry.value:
            nonce = answer.nonces[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES]
            shown = rules.share_hash(config, entry.name, party, bytes(bulk[place * size : (place + 1) * size]), nonce)
            if shown != hashes[party * DIGEST_BYTES : (party + 1) * DIGEST_BYTES]:
                return
    raise VerificationError("what was revealed is what the client has signed: there is no fault")


def _bad_partial_sum(scheme: Scheme, config: RoundConfig, aggregators: AggregatorSet, proof: FaultProof) -> None:
    statement, revealed, data = proof.exhibits
    _aggregator(aggregators, proof)
    found, _, committed = _revealed(config, proof, statement, revealed)
    if not found.entries:
        raise VerificationError("a partial sum of nothing")
    message = _message(proof, config, data, rules.PARTIAL_SUM)
    answer = decode(PartialSum, message.body, header_limit(0))
    if answer.root != rules.SignedByAggregators().root(found):
        raise VerificationError("the partial sum is of another set")
    if len(committed) != len(found.entries) * openings.commitment_bytes(config):
        raise VerificationError("the commitments are not those of the set")
    try:
        vector = shares.read_vector(config, message.bulk)
        right = rules.linear_hash(config, vector) == sum_of(config, committed)
    except ValueError:
        return  # what it signed is no partial sum at all
    if right:
        raise VerificationError("the partial sum fulfils its equation: there is no fault")


def _two_sets(scheme: Scheme, config: RoundConfig, aggregators: AggregatorSet, proof: FaultProof) -> None:
    first, first_signature, other, second, second_signature = proof.exhibits
    _aggregator(aggregators, proof)
    other_config = decode(RoundConfig, other, MAX_CONFIG)
    if (other_config.task, other_config.round) != (config.task, config.round):
        raise VerificationError("the two sets are of different rounds")
    # One aggregator may serve two federations whose tasks have the same name.
    if (other_config.policy, other_config.operators) != (config.policy, config.operators):
        raise VerificationError("the two sets are of different federations")
    signed = []
    for setting, data, signature in ((config, first, first_signature), (other_config, second, second_signature)):
        statement = decode(Statement, data, header_limit(setting.cohort_size))
        message = rules.SignedByAggregators().signed_bytes(session_id(setting, None), statement)
        verify_signature(proof.public, signature, message, phase=CONSISTENCY, culprit=proof.culprit)
        signed.append(message)
    if signed[0] == signed[1]:
        raise VerificationError("the two sets are one")


_Check = Callable[[Scheme, RoundConfig, AggregatorSet, FaultProof], None]
_CHECKS: Final[Mapping[str, tuple[int, _Check]]] = {
    rules.BAD_SHARE: (2, _bad_share),
    rules.TWO_COMMITMENTS: (2, _two_commitments),
    rules.BAD_SHARES: (3, _bad_shares),
    rules.BAD_REVEAL: (3, _bad_reveal),
    rules.BAD_PARTIAL_SUM: (3, _bad_partial_sum),
    rules.TWO_SETS: (5, _two_sets),
}
"""By kind: the number of exhibits, and the check."""
