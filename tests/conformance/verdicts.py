"""What the product and the verifier that was written from the specification alone say of the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import cache
from typing import Any

import conformance.independent_faults as spec_faults
import conformance.independent_verifier as spec
import numpy as np
from support.shares.additive_round import Play, play
from support.shares.additive_round import federation as additive

import secure_agg
from secure_agg.errors import SecureAggError
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.fault import FaultProof
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.trust import Trust


def flat(arrays: list[Any]) -> Any:
    return np.concatenate([array.ravel() for array in arrays])


def by_product(
    data: bytes, trust: str | None, beacon: bytes | None, claims: Collection[str] | None
) -> tuple[bytes, bytes] | str:
    """Record and average, or why the evidence is refused."""
    try:
        pins = Trust.from_json(trust) if trust else None
        verified = secure_agg.verify(Evidence.from_bytes(data), pins, beacon=beacon, claims=claims)
    except SecureAggError as error:
        return str(error)
    return verified.record.to_bytes(), flat(verified.average).tobytes()


def by_specification(
    data: bytes, trust: str | None, beacon: bytes | None, claims: Collection[str] | None
) -> tuple[bytes, bytes] | str:
    """The same, of the independent verifier."""
    try:
        record = spec.verify(data, spec.read_trust(trust) if trust else None, beacon, claims)
    except ValueError as error:
        return str(error)
    return record["encoding"], record["average"].tobytes()


def verdict(
    data: bytes, trust: str | None = None, beacon: bytes | None = None, claims: Collection[str] | None = None
) -> bytes | None:
    """The record that both verifiers read from the evidence, None where both refuse it."""
    one, other = by_product(data, trust, beacon, claims), by_specification(data, trust, beacon, claims)
    if isinstance(one, str) or isinstance(other, str):
        assert (type(one), type(other)) == (str, str), f"the product: {one!r}; the specification: {other!r}"
        return None
    assert one == other
    return one[0]


def fault_verdict(data: bytes, trust: str | None = None) -> str | None:
    """Whom both verifiers find guilty, None where both say that the proof proves nothing."""
    product = independent = None
    try:
        product = Auditor(Trust.from_json(trust) if trust else None).verify_fault(FaultProof.from_bytes(data))
    except SecureAggError as error:
        why: Exception = error
    try:
        independent = spec_faults.verify_fault(data, spec.read_trust(trust) if trust else None)["culprit"]
    except ValueError as error:
        why = error
    assert product == independent, why
    return product


def respelled(evidence: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """The evidence with another header, its length put right."""
    header, bulk = spec.unpack(evidence)
    altered = change(header)
    assert altered != header
    return len(altered).to_bytes(4, "little") + altered + bulk


def rearranged(evidence: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """The evidence with a decoded header changed and encoded again."""

    def altered(header: bytes) -> bytes:
        fields = spec.decode("Evidence", header, 2**30)
        change(fields)
        return spec.encode("Evidence", fields)

    return respelled(evidence, altered)


@cache
def played(n: int, **options: int) -> tuple[str, bytes, Play]:
    """The text of a trust file, a round's evidence, and the round."""
    tape = play(additive(options, n))
    evidence = tape.finish().to_bytes()
    return tape.federation.trust.to_json(), evidence, tape
