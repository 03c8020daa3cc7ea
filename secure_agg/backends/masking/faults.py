"""What can be proved of a client to anybody where inputs are screened, from what it has signed itself.

A *charge* is a proof within a session that everybody in it knows; a ``FaultProof`` brings the advertisements, of which
the session id is the hash, as its first exhibit. The exhibits of a charge, by its kind:

* ``bad-input``: input and report. Its numbers do not explain its masked vector.
* ``bad-edge``: report, the message with its confirmations, the peer's id, the secret of their mask. The secret is the
  one that it confirmed, and its number for the mask is another.
* ``bad-self-mask``: report, the seed that it signed the hash of. Its number for the self mask is another.
* ``bad-lost-edge``: report, the mask secret of a peer, whose public key that peer advertised. Likewise.
* ``bad-seed-shares``: the message with the hashes of its shares, shares that have those, report. They rebuild no seed,
  or another than it signed the hash of.
* ``bad-key-shares``: the same of the mask key that it advertised, without the report.

What convicts an aggregator is in ``claims``.

A client that follows the protocol has signed one report for one list, with the values of its masks, one confirmation of
each secret and shares of its own secrets, and no input, report, secret or share can be found that fits what it has
signed and contradicts that, short of a second preimage of 128 bits of a key derivation (a confirmation).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from mpc import keys, ring, shamir
from mpc.keys import KeyPair
from mpc.ring import Vector
from secure_agg.backends.contract import Session, session_id
from secure_agg.backends.masking import rules, screening
from secure_agg.backends.masking.rules import MASKED_INPUT, SCREEN, SCREEN_SKETCHES, SHARE_KEYS
from secure_agg.backends.masking.screening import Tests, Values
from secure_agg.backends.masking.wire import (
    MASK_KEY,
    SELF_SEED,
    Charge,
    DealtShares,
    Edge,
    KeyShares,
    MaskedPart,
    Report,
    seed_hash,
    share_hash,
    split_part,
)
from secure_agg.errors import RemoteProtocolError, VerificationError
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.fault import FaultProof
from secure_agg.protocol.identity import is_id_order
from secure_agg.protocol.messages import (
    MAX_ADVERTISEMENT,
    Advertisement,
    AdvertisementList,
    HiddenInput,
    Message,
    Received,
    decode,
    encode,
    header_limit,
    read,
)
from secure_agg.protocol.norm.wire import BoundedInput, response_header_limit
from secure_agg.protocol.sparse.opening import exhibit, read_exhibit
from secure_agg.protocol.sparse.wire import Shown

BAD_INPUT: Final = "bad-input"
BAD_EDGE: Final = "bad-edge"
BAD_SELF_MASK: Final = "bad-self-mask"
BAD_LOST_EDGE: Final = "bad-lost-edge"
BAD_SEED_SHARES: Final = "bad-seed-shares"
BAD_KEY_SHARES: Final = "bad-key-shares"
_UNREADABLE: Final = (RemoteProtocolError, ValueError, LookupError, ArithmeticError)


def prove(session: Session, charge: Charge, shown: Shown | None = None) -> FaultProof:
    """A charge with what whoever was not in the session needs.

    Args:
        shown: where clients choose their peers, the advertisements that came with the charge; whoever has all shows
            what is needed.
    """
    if shown is None and session.near is not None:
        shown = show(session, [charge])
    name = session.members[charge.culprit]
    return FaultProof(
        kind=charge.kind,
        culprit=name,
        public=session.keys[name],
        config=session.config.to_bytes(),
        setup=b"",
        exhibits=(advertised(session, shown), *charge.exhibits),
    )


def show(session: Session, charges: Sequence[Charge]) -> Shown:
    """The advertisements that charges are about, in a sparse session: of those charged, and of a lost peer whose mask
    key is shown.
    """
    concerned = {session.members[charge.culprit] for charge in charges}
    for charge in charges:
        if charge.kind == BAD_LOST_EDGE:
            public = KeyPair.from_secret(charge.exhibits[1]).public
            concerned.add(session.members[_mask_keys(session)[public]])
    return session.neighbourhood.show(concerned, session.advertisements)


def _mask_keys(session: Session) -> Mapping[bytes, int]:
    """Whose each mask key is, of the clients whose advertisements are known."""
    found = ((i, name, session.parts.get(name)) for i, name in enumerate(session.members))
    return {split_part(name, part)[1]: i for i, name, part in found if part is not None}


def advertised(session: Session, shown: Shown | None = None) -> bytes:
    """The first exhibit of every proof: all that the session follows from; of a sparse one as much as is shown."""
    if session.near is not None:
        return exhibit(session, shown or session.near.show_nobody())
    return encode(AdvertisementList(tuple(session.advertisements[name] for name in session.members), b""))


def check_proof(config: RoundConfig, proof: FaultProof) -> None:
    """Check that a proof shows what its kind says. Whether the culprit's key is pinned is the caller's to check.

    Raises:
        VerificationError: it does not.
    """
    with as_no_proof():
        session = read_session(config, proof)
        if proof.culprit not in session.members:
            raise VerificationError(f"{proof.culprit!r} did not advertise")
        _check(session, Charge(proof.kind, session.members.index(proof.culprit), proof.exhibits[1:]))


def check_charge(session: Session, charge: Charge) -> None:
    """Check that a charge is one.

    Raises:
        VerificationError: it is not.
    """
    with as_no_proof():
        if not 0 <= charge.culprit < len(session.members):
            raise VerificationError(f"{charge.culprit} is no participant")
        _check(session, charge)


class as_no_proof:  # noqa: N801 - used like a function
    """An exhibit that can't be read proves nothing, whatever a library says of it; running out of memory shows nothing
    of it and passes.
    """

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, _UNREADABLE) and not isinstance(error, VerificationError):
            said = error.args[0] if error.args else type(error).__name__
            raise VerificationError(f"an exhibit is none: {said}") from error


def _check(session: Session, charge: Charge) -> None:
    found = _CHECKS.get(charge.kind)
    if found is None:
        raise VerificationError(f"backend 'masking' knows no fault of kind {charge.kind!r}")
    count, check = found
    if len(charge.exhibits) != count:
        raise VerificationError(f"{len(charge.exhibits)} exhibits, not {count}")
    check(session, charge.culprit, *charge.exhibits)


def read_session(config: RoundConfig, proof: FaultProof) -> Session:
    """The session that a list of advertisements makes. Whoever has signed something under its id has checked the list:
    nobody's signature has to be looked at again. Of identity keys it has the culprit's.

    Raises:
        VerificationError: nothing was screened in the round, or the proof is not of this form.
    """
    if not rules.screens(config):
        raise VerificationError(f"without screening there is no fault of kind {proof.kind!r}")
    if proof.setup or not proof.exhibits:
        raise VerificationError("a proof of fault has a set-up, or no exhibits")
    if rules.chooses_peers(config):
        session = read_exhibit(config, proof.exhibits[0])
        for name, shown in session.parts.items():
            split_part(name, shown)
        return replace(session, keys={proof.culprit: proof.public})
    items = decode(AdvertisementList, proof.exhibits[0], header_limit(config.cohort_size)).advertisements
    if not is_id_order([item.name for item in items]) or len(items) > config.cohort_size:
        raise VerificationError("the advertisements are not in id order, each client once")
    parts = {item.name: decode(Advertisement, item.body, MAX_ADVERTISEMENT) for item in items}
    for name, part in parts.items():
        split_part(name, part.backend)
    return Session(
        config=config,
        sid=session_id(config, items),
        members=tuple(parts),
        keys={proof.culprit: proof.public},
        commitment_hashes={name: part.commitment_hash for name, part in parts.items()},
        parts={name: part.backend for name, part in parts.items()},
        advertisements={item.name: item for item in items},
        signers={},
    )


def read_message(session: Session, name: str, data: bytes | Received, phase: str) -> Message:
    """What somebody has signed in a phase of this session."""
    limit = max(response_header_limit(session.config), rules.request_limit(session.config))
    received = Received.of(data, limit)
    return read(
        received,
        limit=limit,
        bulk_sizes=None,
        session=session.sid,
        phase=phase,
        recipients=(received.header.recipient,),
        keys={name: session.keys[name]},
    )


class _Report(NamedTuple):
    """What somebody has reported, and the functionals that its root leads to."""

    said: Values
    functional: Tests

    def differs(self, key: bytes, said: Vector) -> bool:
        """Whether the functionals of a mask are others than was said."""
        return not np.array_equal(self.functional.of([key])[0], said)


def _report(session: Session, culprit: int, data: bytes) -> _Report | None:
    """What somebody has reported, of inputs or of sketches; None where it has signed what is no report at all."""
    config = session.config
    received = Received.of(data, response_header_limit(config))
    of_sketches = received.header.phase == SCREEN_SKETCHES and rules.tests_sketches(config)
    message = read_message(session, session.members[culprit], received, SCREEN_SKETCHES if of_sketches else SCREEN)
    try:
        report = decode(Report, message.body, len(message.body))
        said = screening.read_report(report, culprit, len(session.members))
    except (RemoteProtocolError, ValueError):
        return None
    challenge = screening.sketch_challenge if of_sketches else screening.challenge
    return _Report(said, challenge(config, session.sid, said.root))


def _no_fault() -> VerificationError:
    return VerificationError("what it has signed is right: there is no fault")


def _bad_input(session: Session, culprit: int, sent: bytes, reported: bytes) -> None:
    report = _report(session, culprit, reported)
    message = read_message(session, session.members[culprit], sent, MASKED_INPUT)
    if report is None:
        return
    said, functional = report
    try:
        body = decode(HiddenInput, message.body, len(message.body))
        backend, sketch = body.backend, b""
        if session.config.policy.norm:
            bounded = decode(BoundedInput, backend, len(backend))
            backend, sketch = bounded.backend, bounded.sketch
        part = decode(MaskedPart, backend, len(backend))
        committed = screening.decode_committed(session.config, body.commitment, sketch)
        vector = ring.from_bytes(message.bulk)
        masked = functional.of([], [vector])[0]
    except (RemoteProtocolError, ValueError):
        return  # it has signed what is no input at all
    if (part.seed_hash, part.active) != (said.seed_hash, tuple(said.peers)):
        return
    if screening.explains(functional, culprit, masked, committed, said):
        raise _no_fault()


def _edge_of(session: Session, culprit: int, data: bytes, peer: int) -> Edge:
    message = read_message(session, session.members[culprit], data, SHARE_KEYS)
    dealt = decode(KeyShares, message.body, len(message.body))
    for edge in dealt.edges:
        if edge.peer == peer:
            return edge
    raise VerificationError("its message says nothing of this peer")


def _bad_edge(session: Session, culprit: int, reported: bytes, dealt: bytes, peer: bytes, secret: bytes) -> None:
    report, name, other = _report(session, culprit, reported), session.members[culprit], peer.decode()
    if other not in session.members:
        raise VerificationError(f"{other!r} did not advertise")
    index = session.members.index(other)
    edge = _edge_of(session, culprit, dealt, index)
    bound = session.sid, name.encode(), peer
    if not keys.confirms(secret, *bound, edge.confirmation):
        raise VerificationError("the secret is not the one that it has confirmed")
    if report is None:
        return
    if index not in report.said.peers:
        raise VerificationError("it has reported nothing of this mask")
    if not report.differs(keys.mask_key(secret, *bound), report.said.peers[index]):
        raise _no_fault()


def _bad_self_mask(session: Session, culprit: int, reported: bytes, seed: bytes) -> None:
    report, name = _report(session, culprit, reported), session.members[culprit]
    if report is None:
        return
    if seed_hash(session.sid, name, seed) != report.said.seed_hash:
        raise VerificationError("the seed is not the one whose hash it has signed")
    if not report.differs(screening.self_mask_key(session.sid, name, seed), report.said.own):
        raise _no_fault()


def _bad_lost_edge(session: Session, culprit: int, reported: bytes, secret: bytes) -> None:
    report, pair = _report(session, culprit, reported), KeyPair.from_secret(secret)
    owners = _mask_keys(session)
    if pair.public not in owners or keys.clamped(secret) != secret:
        raise VerificationError("the secret is of no advertised mask key")
    if report is None:
        return
    peer, name = owners[pair.public], session.members[culprit]
    if peer not in report.said.peers:
        raise VerificationError("it has reported nothing of this mask")
    key = keys.mask_key(
        pair.shared_secret(split_part(name, session.parts[name])[1]),
        session.sid,
        *(session.members[i].encode() for i in (culprit, peer)),
    )
    if not report.differs(key, report.said.peers[peer]):
        raise _no_fault()


def _rebuilt(session: Session, culprit: int, dealt: bytes, shown: bytes, kind: str) -> bytes | None:
    """The secret that shares lead to, of which the dealer has signed the hashes; None where they lead to none."""
    name = session.members[culprit]
    message = read_message(session, name, dealt, SHARE_KEYS)
    said = decode(KeyShares, message.body, len(message.body))
    edges = {edge.peer: edge.mask_hash if kind == MASK_KEY else edge.seed_hash for edge in said.edges}
    if kind == SELF_SEED and said.own_hash:
        edges[culprit] = said.own_hash
    shares = decode(DealtShares, shown, len(shown))
    holders, size = shares.holders, shamir.SHARE_BYTES
    if not set(holders) <= set(range(len(session.members))):
        raise VerificationError("a holder is no participant")
    if list(holders) != sorted(set(holders)) or not edges.keys() >= set(holders):
        raise VerificationError("the holders are not in order, each one to whom it dealt")
    if len(holders) != rules.plan(session).threshold or len(shares.shares) != len(holders) * size:
        raise VerificationError(
            f"{len(holders)} shares, or of another size, where {rules.plan(session).threshold} rebuild"
        )
    for place, holder in enumerate(holders):
        share = shares.shares[place * size : (place + 1) * size]
        if share_hash(session.sid, kind, name, session.members[holder], share) != edges[holder]:
            raise VerificationError("a share is not the one whose hash it has signed")
    try:
        values = ring.from_bytes(shares.shares).reshape(len(holders), 1, shamir.LIMBS)
        return shamir.combine([holder + 1 for holder in holders], values)[0]
    except ValueError:  # ShareError is one
        return None


def _bad_seed_shares(session: Session, culprit: int, dealt: bytes, shown: bytes, reported: bytes) -> None:
    seed, report = _rebuilt(session, culprit, dealt, shown, SELF_SEED), _report(session, culprit, reported)
    hashed = None if seed is None else seed_hash(session.sid, session.members[culprit], seed)
    if report and hashed == report.said.seed_hash:
        raise _no_fault()


def _bad_key_shares(session: Session, culprit: int, dealt: bytes, shown: bytes) -> None:
    name, secret = session.members[culprit], _rebuilt(session, culprit, dealt, shown, MASK_KEY)
    if secret is not None and KeyPair.from_secret(secret).public == split_part(name, session.parts[name])[1]:
        raise _no_fault()


_CHECKS: Final[Mapping[str, tuple[int, Callable[..., None]]]] = {
    BAD_INPUT: (2, _bad_input),
    BAD_EDGE: (4, _bad_edge),
    BAD_SELF_MASK: (2, _bad_self_mask),
    BAD_LOST_EDGE: (2, _bad_lost_edge),
    BAD_SEED_SHARES: (3, _bad_seed_shares),
    BAD_KEY_SHARES: (2, _bad_key_shares),
}
"""By kind: the number of exhibits, and the check."""
