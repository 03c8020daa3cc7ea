"""RoundRecord, the ledger's leaf, and Evidence, all that anyone needs to check a round. Data only: the
check is the auditor's.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec
import numpy as np

from mpc import ring
from mpc.ring import Vector
from secure_agg import formats
from secure_agg.arguments import check_fields, checked_class
from secure_agg.errors import MalformedMessage, VerificationError
from secure_agg.protocol.claims import CLAIMS, DP_SUM
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.config.tree import EDGE, level
from secure_agg.protocol.messages import (
    MAX_CONFIG,
    Opening,
    Signature,
    SignedAdvertisement,
    Wire,
    array_header,
    decode,
    decode_list,
    encode,
    pack,
    public_limit,
    unpack,
)
from secure_agg.protocol.norm.wire import SketchedOpening, opening_kind, proof_digest
from secure_agg.protocol.privacy.claim import PrivacyClaim
from zk.transcript import digest

RECORD_VERSION: Final = 2
MAX_RECORD: Final = 64 << 10
DECRYPT: Final = "decrypt"
"""The phase in which key holders open a sum."""
MAX_HEADER: Final = 1 << 30
"""Most bytes of everything but the sums, whatever the configuration says: over 90,000 participants."""
MAX_OPERATORS: Final = 256
"""Most operators that sign a set."""

# Bytes that entries of the lists have, at least: names have one character, keys and digests 32 bytes, signatures 64.
_LEAST_MEMBER: Final = 37
_LEAST_ADVERTISEMENT: Final = 71
_LEAST_OPENING: Final = 39
_LEAST_SIGNATURE: Final = 69


class GroupRecord(Wire, frozen=True):
    """What a record says of one group.

    Attributes:
        name: of the group.
        error_bound: more than any value of its mean can be off by rounding, in its units; 0 of a count.
        error_rms: the root of the mean square of what they are off by is at most this.
        next_clips: k of its adaptive clips in the task's next round; empty where they are pinned.
    """

    name: str
    error_bound: float
    error_rms: float
    next_clips: tuple[int, ...]


@checked_class
class RoundRecord(Wire, frozen=True, kw_only=True):
    """What the ledger holds of a round: digests, counts and the sum of the commitments; at most 64 KiB.

    Attributes:
        version: of the record's format, 2.
        claim: what is proved of the result: ``sum``, that it is the exact sum of what the participants committed to;
            ``dp-sum``, the same of vectors with noise, see ``PrivateRecord``;
            ``attested``, nothing but that the operators have signed it.
        task, round, attempt: which round.
        context: digest of the RoundConfig.
        session: sid.
        cohort_size: |G|.
        participants: |S|.
        participants_root: root over S's ids and commitments, as its members signed it.
        commitment_sum: sum of the C_i, 6 or 8 kB.
        weight_limit: M, the round's largest weight.
        weight_sum: sum of the participants' weights.
        weights_lowered, weights_raised: how many of them count as the round's largest weight, or its least, because
            theirs are above or below; 0 where the policy keeps weights.
        error_bound: more than any value of the mean can be off by rounding, from the mean of the clipped updates; of
            several groups the largest.
        next_weight_limit: what the weight limit of the task's next round has to be; 0 where the policy keeps weights.
        start_model: digest of the model that the updates are relative to.
        result_model: digest of the weighted mean.
        previous_record: digest of the task's previous record, or zeros.
        evidence: SHA-256 of the evidence, which is stored under this name.
    """

    version: int
    claim: str
    task: str
    round: int
    attempt: int
    context: bytes
    session: bytes
    cohort_size: int
    participants: int
    participants_root: bytes
    commitment_sum: bytes
    weight_limit: int
    weight_sum: int
    weights_lowered: int
    weights_raised: int
    error_bound: float
    next_weight_limit: int
    start_model: bytes
    result_model: bytes
    previous_record: bytes
    evidence: bytes

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def norm_bound(self) -> float:
        """B in the units of the update: see ``BoundedRecord``; 0 where no norm is bounded."""
        return 0.0

    @property
    def norm_factor(self) -> int:
        """See ``BoundedRecord``; 0 where no norm is bounded."""
        return 0

    @property
    def groups(self) -> tuple[GroupRecord, ...]:
        """See ``GroupedRecord``; empty where there are no groups."""
        return ()

    @property
    def next_clips(self) -> tuple[int, ...]:
        """k of all adaptive clips of the task's next round, group by group."""
        return tuple(k for group in self.groups for k in group.next_clips)

    def __repr__(self) -> str:
        return (
            f"RoundRecord(task={self.task!r}, round={self.round}, attempt={self.attempt}, claim={self.claim!r}, "
            f"participants={self.participants} of {self.cohort_size}, result_model={self.result_model.hex()[:16]}…)"
        )

    def to_bytes(self) -> bytes:
        """The leaf."""
        return encode(self)

    @staticmethod
    def from_bytes(data: bytes | memoryview) -> RoundRecord:
        """Decode strictly.

        Raises:
            VerificationError: not a canonical record of a known version, or above 64 KiB.
        """
        try:
            record = decode(RoundRecord, data, MAX_RECORD)
        except MalformedMessage as error:
            raise VerificationError(f"this is no round record: {error}") from error
        if record.version != RECORD_VERSION:
            raise VerificationError(f"record version {record.version} is not {RECORD_VERSION}")
        if record.claim not in CLAIMS:
            raise VerificationError(f"a record claims {record.claim!r}")
        if isinstance(record, PrivateRecord) != (record.claim == DP_SUM):
            raise VerificationError(f"a record that claims {record.claim!r} has other fields than such a one")
        return record

    @classmethod
    def form(cls, data: bytes | memoryview) -> type[RoundRecord]:
        """An array of so many fields: those of groups, of a norm bound, of privacy are there or not."""
        begins = bytes(data[:3])
        return next((kind for kind in _FORMS if begins == array_header(kind)), RoundRecord)

    def extended(
        self,
        *,
        groups: tuple[GroupRecord, ...] = (),
        norm: tuple[float, int] | None = None,
        privacy: PrivacyClaim | None = None,
    ) -> RoundRecord:
        """This record with what its round says of groups and of norms, or of privacy, which goes with neither."""
        fields = {name: getattr(self, name) for name in RoundRecord.__struct_fields__}
        if privacy:
            return PrivateRecord(
                **fields,
                mechanism=privacy.mechanism,
                epsilon=privacy.epsilon,
                delta=privacy.delta,
                spent=privacy.spent,
                privacy=privacy.terms,
            )
        if groups and norm:
            return GroupedBoundedRecord(**fields, groups=groups, norm_bound=norm[0], norm_factor=norm[1])
        if groups:
            return GroupedRecord(**fields, groups=groups)
        return BoundedRecord(**fields, norm_bound=norm[0], norm_factor=norm[1]) if norm else self

    def digest(self) -> bytes:
        """32 bytes; the next record of the task names it."""
        return digest("round-record", self.to_bytes())


@checked_class
class BoundedRecord(RoundRecord, frozen=True, kw_only=True):
    """The record of a round with a norm bound.

    Attributes:
        norm_bound: every participant's update has an L2 norm, after clipping, of at most this times weight / weight
            limit, before it is counted by its weight.
        norm_factor: how many times that the corrupt participants, each of them on average, can have together, in
            hundredths: the price of proofs that do not grow with the model. 0 where no such number is known.
    """

    norm_bound: float
    norm_factor: int


@checked_class
class GroupedRecord(RoundRecord, frozen=True, kw_only=True):
    """The record of a round with groups.

    Attributes:
        groups: those of the round, in name order.
    """

    groups: tuple[GroupRecord, ...]


@checked_class
class GroupedBoundedRecord(RoundRecord, frozen=True, kw_only=True):
    """The record of a round with groups and a norm bound: see ``GroupedRecord`` and ``BoundedRecord``."""

    groups: tuple[GroupRecord, ...]
    norm_bound: float
    norm_factor: int


@checked_class
class PrivateRecord(RoundRecord, frozen=True, kw_only=True):
    """The record of a round with differential privacy; its claim is ``dp-sum``.

    Attributes:
        mechanism: ``skellam``.
        epsilon: the task's budget, in millionths.
        delta: in 10^-12.
        spent: what this round and all that are numbered before it spend together, in millionths, of a client that has
            signed once in each, had all of them this round's policy: never more than the budget. Where an epoch has
            changed the noise an audit has the true sum.
        privacy: digest of the round's numbers, D("privacy", terms).
    """

    mechanism: str
    epsilon: int
    delta: int
    spent: int
    privacy: bytes


_FORMS: Final = (GroupedRecord, BoundedRecord, GroupedBoundedRecord, PrivateRecord)


class CohortMember(Wire, frozen=True, gc=False):
    """A member of G with its identity key."""

    name: str
    public: bytes


class OpeningRequest(Wire, frozen=True, kw_only=True):
    """An OPEN phase's request to a key holder: all that is public about the round so far. Bulk: the hidden sum.

    Attributes:
        config, cohort, advertisements, openings, agreement: as in the evidence.
        backend: the backend's part.
    """

    config: bytes
    cohort: tuple[CohortMember, ...]
    advertisements: tuple[SignedAdvertisement, ...]
    openings: tuple[Opening, ...]
    agreement: tuple[Signature, ...]
    backend: bytes

    @staticmethod
    def read(data: bytes) -> tuple[OpeningRequest, RoundConfig]:
        """Decode strictly, with the lists as long as the configuration allows.

        Raises:
            MalformedMessage: not such a request.
        """
        later = _is_later(data, _OpeningLists)
        found = decode(_RenouncedLists if later else _OpeningLists, data, len(data))
        config = decode(RoundConfig, found.config, MAX_CONFIG)
        if later != bool(config.generation):
            raise MalformedMessage("a certificate of renunciation goes with a later generation")
        request = OpeningRequest(
            config=found.config,
            cohort=decode_list(CohortMember, found.cohort, config.cohort_size, _LEAST_MEMBER),
            advertisements=_advertisements(found.advertisements, config),
            openings=_openings(found.openings, config),
            agreement=_signatures(found.agreement, config),
            backend=found.backend,
        )
        if isinstance(found, _RenouncedLists):
            request = request.with_renounced(found.renounced)
        return request, config

    def with_renounced(self, renounced: bytes) -> RenouncedOpeningRequest:
        """This request in a later generation."""
        fields = {name: getattr(self, name) for name in OpeningRequest.__struct_fields__}
        return RenouncedOpeningRequest(**fields, renounced=renounced)


class RenouncedOpeningRequest(OpeningRequest, frozen=True, kw_only=True):
    """The same in a later generation.

    Attributes:
        renounced: the certificate that has ended the one before.
    """

    renounced: bytes


class _OpeningLists(Wire, frozen=True, kw_only=True):
    """``OpeningRequest``, whose lists stay as they are encoded until it is known how long they may be."""

    config: bytes
    cohort: msgspec.Raw
    advertisements: msgspec.Raw
    openings: msgspec.Raw
    agreement: msgspec.Raw
    backend: bytes


class _RenouncedLists(_OpeningLists, frozen=True, kw_only=True):
    """Likewise of a later generation."""

    renounced: bytes


class Opened(Wire, frozen=True):
    """Phase decrypt, response of a holder of the whole key: whether the sum passed the check. Bulk: X ‖ T if so."""

    passed: bool


class _EvidenceHeader(Wire, frozen=True, kw_only=True):
    """``Evidence``, with lists likewise."""

    version: int
    config: bytes
    cohort: msgspec.Raw
    advertisements: msgspec.Raw
    openings: msgspec.Raw
    agreement: msgspec.Raw
    setup: bytes
    attestation: msgspec.Raw
    result_model: bytes


class _RenouncedHeader(_EvidenceHeader, frozen=True, kw_only=True):
    """That of a later generation."""

    renounced: bytes


def _is_later(data: memoryview | bytes, first: type[msgspec.Struct]) -> bool:
    """Whether an array has one field more than those of a first generation have."""
    return bytes(data[:1]) == bytes([0x90 + len(first.__struct_fields__) + 1])


def evidence_limit(config: RoundConfig) -> int:
    """Most bytes of a round's evidence."""
    return public_limit(config.cohort_size) + config.layout.total * ring.ELEMENT_BYTES


def _advertisements(data: msgspec.Raw, config: RoundConfig) -> tuple[SignedAdvertisement, ...]:
    return decode_list(SignedAdvertisement, data, config.cohort_size, _LEAST_ADVERTISEMENT)


def _openings(data: msgspec.Raw, config: RoundConfig) -> tuple[Opening, ...]:
    return decode_list(opening_kind(config), data, config.cohort_size, _LEAST_OPENING)


def _signatures(data: msgspec.Raw, config: RoundConfig) -> tuple[Signature, ...]:
    return decode_list(Signature, data, max(config.cohort_size, MAX_OPERATORS), _LEAST_SIGNATURE)


_KEPT: Final = ("_encoded", "_digest")
"""What evidence has found out of itself: the same whatever proofs are at hand."""


def _sums(bulk: memoryview) -> Vector:
    return np.frombuffer(bulk, dtype="<u4").astype(np.uint32, copy=False)


def _raw(entries: tuple[Wire, ...]) -> msgspec.Raw:
    return msgspec.Raw(msgspec.msgpack.encode(entries))


@checked_class
@dataclass(frozen=True, eq=False)
class Evidence:
    """Everything public about a round: enough to recompute the result and check it, with nothing secret in it.

    It is encoded once: what was decoded keeps what it came as, and what is put together keeps its encoding from the
    first time on that it is asked for. ``sums`` is a view of that then, so that no memory is taken twice.

    Attributes:
        config: the round's.
        cohort: G with identity keys, in id order.
        advertisements: of U, signed, in id order.
        openings: (C_i, nonce) of S, in id order.
        agreement: the signatures of the set S.
        setup: the round's public material, where the operators that it names have signed S, or the certificate
            that has ended the generation before; of an edge the forest that its session follows from; else empty.
        attestation: of a result that is no sum: the operators' signatures of it; else empty.
        sums: X ‖ T, uint32: summed values, weight limbs, counts and randomness; and T' where a norm is bounded. Left
            out where an edge's evidence is published.
        result_model: digest of the weighted mean that follows; zeros of an edge.
        renounced: the certificate of renunciation that the round goes on from, encoded; empty in a first generation,
            whose encoding has no such field.
        proofs: norm proofs by their SHA-256, as far as they are at hand. They are no part of the encoding, which holds
            the hashes: see ``with_proofs``.
    """

    config: RoundConfig
    cohort: tuple[CohortMember, ...]
    advertisements: tuple[SignedAdvertisement, ...]
    openings: tuple[Opening, ...]
    agreement: tuple[Signature, ...]
    setup: bytes
    attestation: tuple[Signature, ...]
    sums: Vector
    result_model: bytes
    renounced: bytes = b""
    proofs: Mapping[bytes, bytes] = field(default_factory=dict)

    def __repr__(self) -> str:
        return (
            f"Evidence(task={self.config.task!r}, round={self.config.round}, "
            f"backend={self.config.policy.backend!r}, participants={len(self.openings)} of {len(self.cohort)}, "
            f"values={self.config.layout.parameters})"
        )

    @property
    def participants(self) -> tuple[str, ...]:
        """S, in id order."""
        return tuple(opening.name for opening in self.openings)

    @property
    def proof_hashes(self) -> tuple[bytes, ...]:
        """Of S's norm proofs, in id order; none where no norm is bounded."""
        return tuple(opening.proof for opening in self.openings if isinstance(opening, SketchedOpening))

    def with_proofs(self, proofs: Iterable[bytes]) -> Evidence:
        """This evidence with norm proofs at hand, for ``Auditor.verify``; those that it does not name are left out."""
        named, known = set(self.proof_hashes), dict(self.proofs)
        known |= {hashed: proof for proof in proofs if (hashed := proof_digest(proof)) in named}
        evidence = replace(self, proofs=known)
        evidence.__dict__.update({name: self.__dict__[name] for name in _KEPT if name in self.__dict__})
        return evidence

    def to_bytes(self) -> bytes:
        """The canonical encoding; its SHA-256 is the evidence's name."""
        encoded = self._encoded
        return encoded if isinstance(encoded, bytes) else bytes(encoded)

    @functools.cached_property
    def _encoded(self) -> bytes | memoryview:
        header = _EvidenceHeader(
            version=RECORD_VERSION,
            config=self.config.to_bytes(),
            cohort=_raw(self.cohort),
            advertisements=_raw(self.advertisements),
            openings=_raw(self.openings),
            agreement=_raw(self.agreement),
            setup=self.setup,
            attestation=_raw(self.attestation),
            result_model=self.result_model,
        )
        if self.config.generation:
            fields = {name: getattr(header, name) for name in _EvidenceHeader.__struct_fields__}
            header = _RenouncedHeader(**fields, renounced=self.renounced)
        encoded = pack(encode(header), ring.byte_view(self.sums))
        object.__setattr__(self, "sums", _sums(memoryview(encoded)[len(encoded) - self.sums.nbytes :]))
        return encoded

    @staticmethod
    def from_bytes(data: bytes | memoryview, *, digest: bytes | None = None) -> Evidence:
        """Decode strictly; check nothing else. The evidence keeps ``data``, and its sums are a view of it.

        Args:
            digest: SHA-256 of ``data``, where it has been computed already.

        Raises:
            VerificationError: not a canonical bundle of a known version, or of another size than its configuration
                says.
        """
        if isinstance(data, memoryview) and not data.readonly:
            data = bytes(data)  # nobody changes it after it was checked
        try:
            raw, bulk = unpack(data, MAX_HEADER)
            later = _is_later(raw, _EvidenceHeader)
            header = decode(_RenouncedHeader if later else _EvidenceHeader, raw, len(raw))
            config = decode(RoundConfig, header.config, MAX_CONFIG)
            if later != bool(config.generation):
                raise MalformedMessage("a certificate of renunciation goes with a later generation")
        except MalformedMessage as error:
            other = formats.instead(data, formats.EVIDENCE)
            raise VerificationError(f"this is no evidence: {error}{other}") from error
        if header.version != RECORD_VERSION:
            raise VerificationError(f"evidence version {header.version} is not {RECORD_VERSION}")
        bare = level(config.policy) == EDGE and not len(bulk)  # an edge's sums are for its members
        if not bare and len(bulk) != config.layout.total * ring.ELEMENT_BYTES:
            raise VerificationError(f"{len(bulk)} bytes of sums, not {config.layout.total * ring.ELEMENT_BYTES}")
        members, most = config.cohort_size, public_limit(config.cohort_size)
        if len(raw) > most:
            raise VerificationError(f"{len(raw)} bytes about {members} members, above {most}")
        try:
            evidence = Evidence(
                config=config,
                cohort=decode_list(CohortMember, header.cohort, members, _LEAST_MEMBER),
                advertisements=_advertisements(header.advertisements, config),
                openings=_openings(header.openings, config),
                agreement=_signatures(header.agreement, config),
                setup=header.setup,
                attestation=_signatures(header.attestation, config),
                sums=_sums(bulk),
                result_model=header.result_model,
                renounced=header.renounced if isinstance(header, _RenouncedHeader) else b"",
            )
        except MalformedMessage as error:
            raise VerificationError(f"this is no evidence: {error}") from error
        evidence.__dict__["_encoded"] = data  # in canonical form, as has been checked
        if digest is not None:
            evidence.__dict__["_digest"] = digest
        return evidence

    def digest(self) -> bytes:
        """SHA-256 of the encoding."""
        return self._digest

    @functools.cached_property
    def _digest(self) -> bytes:
        return hashlib.sha256(self._encoded).digest()
