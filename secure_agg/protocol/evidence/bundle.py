"""Evidence, all that anyone needs to check a round. Data only: the check is the auditor's."""

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
from secure_agg.arguments import checked_class
from secure_agg.errors import MalformedMessage, VerificationError
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.config.tree import EDGE, level
from secure_agg.protocol.evidence.lists import (
    LEAST_MEMBER,
    CohortMember,
    is_later,
    raw_list,
    read_advertisements,
    read_openings,
    read_signatures,
)
from secure_agg.protocol.evidence.record import RECORD_VERSION
from secure_agg.protocol.messages import (
    MAX_CONFIG,
    Opening,
    Signature,
    SignedAdvertisement,
    Wire,
    decode,
    decode_list,
    encode,
    pack,
    public_limit,
    unpack,
)
from secure_agg.protocol.norm.wire import SketchedOpening, proof_digest

MAX_HEADER: Final = 1 << 30
"""Most bytes of everything but the sums, whatever the configuration says: over 90,000 participants."""


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


def evidence_limit(config: RoundConfig) -> int:
    """Most bytes of a round's evidence."""
    return public_limit(config.cohort_size) + config.layout.total * ring.ELEMENT_BYTES


_KEPT: Final = ("_encoded", "_digest")
"""What evidence has found out of itself: the same whatever proofs are at hand."""


def _sums(bulk: memoryview) -> Vector:
    return np.frombuffer(bulk, dtype="<u4").astype(np.uint32, copy=False)


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
            cohort=raw_list(self.cohort),
            advertisements=raw_list(self.advertisements),
            openings=raw_list(self.openings),
            agreement=raw_list(self.agreement),
            setup=self.setup,
            attestation=raw_list(self.attestation),
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
            later = is_later(raw, _EvidenceHeader)
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
                cohort=decode_list(CohortMember, header.cohort, members, LEAST_MEMBER),
                advertisements=read_advertisements(header.advertisements, config),
                openings=read_openings(header.openings, config),
                agreement=read_signatures(header.agreement, config),
                setup=header.setup,
                attestation=read_signatures(header.attestation, config),
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
