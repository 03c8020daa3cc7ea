"""Section 17 as two implementations have it: certificates, how many are enough, and evidence of a later generation."""

from __future__ import annotations

import json
from dataclasses import replace

import conformance.epochs.independent_renunciation as spec
import conformance.independent_verifier as verifier
import conformance.make_vectors as make_vectors
import pytest
from conformance.vector_files import DIRECTORY
from msgspec.structs import replace as with_fields
from support.federation import Federation, Tape, identity

from secure_agg.backends.masking import rules
from secure_agg.errors import VerificationError
from secure_agg.protocol.config import Policy
from secure_agg.protocol.evidence import Evidence
from secure_agg.protocol.renunciation import Renunciation, RenunciationCertificate, split_bits
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.task import Task


def certificate(where: Federation, count: int) -> RenunciationCertificate:
    statement = Renunciation.of(where.config())
    signers = where.share_holder_names or where.names
    return RenunciationCertificate.of(statement, [statement.sign(identity(name)) for name in signers[:count]])


def later(backend: str) -> tuple[Federation, Evidence]:
    """A round of the second generation."""
    where = Federation(4, backend=backend, policy_changes={"bits": 8})
    signed = certificate(where, 3)
    tape = Tape(where, where.round())
    config = where.config(renounced=signed, attempt=1)
    tape.local.aggregator = Task(where.task, where.trust).lead(where.operator, config, where.setup, renounced=signed)
    tape.open(tape.aggregator.start())
    return where, tape.finish()


@pytest.mark.parametrize("backend", ["masking", "plain", "additive"])
def test_evidence_of_a_later_generation_is_checked_alike(backend: str) -> None:
    where, evidence = later(backend)
    found = verifier.verify(evidence.to_bytes())
    assert found["encoding"] == Auditor(where.trust).verify(evidence).record.to_bytes()
    good = RenunciationCertificate.from_bytes(evidence.renounced)
    for other in (
        b"",
        with_fields(good, signatures=good.signatures[1:]).to_bytes(),
        with_fields(good, statement=with_fields(good.statement, round=1)).to_bytes(),
        good.to_bytes() + b"\0",
    ):
        wrong = replace(evidence, renounced=other).to_bytes()
        with pytest.raises(ValueError):
            verifier.verify(wrong)
        with pytest.raises(VerificationError):
            Auditor(where.trust).verify(Evidence.from_bytes(wrong))


def test_the_vectors_are_what_the_product_makes_and_what_the_second_implementation_checks() -> None:
    stated = json.loads((DIRECTORY / make_vectors.RENOUNCED_VECTORS).read_text("utf-8"))
    data = (DIRECTORY / stated["evidence"]).read_bytes()
    evidence, trust = make_vectors.play_renounced()
    assert (evidence.to_bytes(), make_vectors.renounced_vectors(evidence)) == (data, stated)
    pins = verifier.read_trust((DIRECTORY / stated["trust"]).read_text("utf-8"))
    assert verifier.verify(data, pins)["encoding"] == Auditor(trust).verify(evidence).record.to_bytes()
    config = verifier.decode("RoundConfig", evidence.config.to_bytes(), 1 << 20)
    voters = {member.name: member.public for member in evidence.cohort}
    said = spec.check(bytes.fromhex(stated["certificate"]), config, voters, stated["needed"])
    assert spec.signed(said).hex() == stated["signed"]
    for wrong in stated["refused"].values():
        other = config | {"renounced": verifier.digest("renunciation", bytes.fromhex(wrong))}
        with pytest.raises(ValueError):
            spec.check(bytes.fromhex(wrong), other, voters, stated["needed"])


def test_what_is_signed_is_the_same_bytes() -> None:
    where = Federation(4)
    good = certificate(where, 3)
    decoded = verifier.decode("RenunciationCertificate", good.to_bytes(), 1 << 20)
    assert spec.signed(decoded["statement"]) == good.statement.signed_bytes
    assert verifier.digest("renunciation", good.to_bytes()) == good.digest()
    closing = with_fields(good.statement, successor=bytes(range(32)))
    plain = verifier.decode("Renunciation", verifier.msgspec.msgpack.encode(closing), 1 << 20)
    assert spec.signed(plain) == closing.signed_bytes


@pytest.mark.parametrize("members", [3, 4, 10, 20, 100])
def test_a_complete_graph_is_counted_alike(members: int) -> None:
    policy = Policy.default(members)
    assert spec.complete(members, policy.max_corrupt) == rules.of_complete_graph(
        members, policy.max_corrupt, policy.quorum(members)
    )


def test_a_sparse_graph_is_counted_alike_by_exact_fractions() -> None:
    policy = Policy.default(256)
    corrupt, least = policy.max_corrupt, policy.min_advertised
    degrees: dict[int, tuple[int, int] | None] = {}
    for size in spec.sizes(least, 256):
        found = rules.degree(size, corrupt)
        degrees[size] = (found.neighbours, found.threshold) if found else None
    assert spec.sparse(256, corrupt, least, degrees) == 185
    assert rules.renouncing(256, corrupt, policy.quorum(256), least) == 185
    found = rules.degree(least, corrupt)
    assert found is not None
    exact = spec.bound(256, corrupt, 185, least, (found.neighbours, found.threshold))
    assert split_bits(256, corrupt, policy.quorum(256), 185, least, found) == pytest.approx(exact, abs=1e-6)
