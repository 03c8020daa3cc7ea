"""docs/vectors/additive.*: made again by the product, and by the verifier that was written from the specification."""

from __future__ import annotations

import ast
import copy
import json
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import conformance.epochs.independent_renunciation as spec_renunciation
import conformance.independent_card as spec_card
import conformance.independent_faults as spec_faults
import conformance.independent_verifier as spec
import conformance.make_vectors as make_vectors
import conformance.norm.independent_norm as spec_norm
import conformance.screening.independent_screening as spec_screening
import pytest
from conformance.vector_files import DIRECTORY
from conformance.verdicts import fault_verdict, verdict

VECTORS = json.loads((DIRECTORY / make_vectors.SHARED_VECTORS).read_text("utf-8"))


@cache
def vector_round() -> make_vectors.SharedRound:
    return make_vectors.play_shared()


def stored(name: str) -> bytes:
    return (DIRECTORY / name).read_bytes()


def test_the_product_makes_the_vectors_again() -> None:
    made = vector_round()
    assert stored(make_vectors.SHARED_EVIDENCE) == made.evidence.to_bytes()
    assert stored(make_vectors.SHARED_TRUST).decode() == made.trust.to_json()
    assert stored(make_vectors.SHARED_LETTER) == made.letters[1]
    assert stored(make_vectors.SHARED_FAULT) == made.fault.to_bytes()
    assert make_vectors.shared_vectors(made) == VECTORS


def test_both_accept_the_fixed_round_and_the_fixed_proof() -> None:
    trust = stored(make_vectors.SHARED_TRUST).decode()
    record = verdict(stored(make_vectors.SHARED_EVIDENCE), trust)
    assert record is not None
    assert record.hex() == VECTORS["record"]
    assert fault_verdict(stored(make_vectors.SHARED_FAULT), trust) == VECTORS["fault"]["culprit"]


def spec_letter(stated: dict[str, Any], data: bytes, config: bytes) -> dict[str, Any]:
    """Everything in a letter, from the letter and its aggregator's secret."""
    encoded, bulk = spec.unpack(data)
    header = spec.decode("Header", encoded, 1 << 16)
    letter, fields = spec.decode("ShareLetter", header["body"], 1 << 16), spec.decode("RoundConfig", config, 1 << 20)
    client, aggregator = header["sender"], header["recipient"]
    party = make_vectors.AGGREGATORS.index(aggregator)
    context = spec.digest("round-config", config)
    bound = header["session"], client, aggregator
    key = spec_faults.letter_key(bytes.fromhex(stated["channel_secret"]), letter["ephemeral"], *bound)
    small = spec_faults.unseal(key, 0, letter["sealed"], *bound, letter["hashes"])
    nonce, share = spec_faults.open_letter(fields, context, letter, bulk, client, aggregator, party, key)
    assert spec_faults.seal(key, 0, small, *bound, letter["hashes"]) == letter["sealed"]
    if bulk:
        assert spec_faults.seal(key, 1, spec.encode_elements(share), *bound, letter["hashes"]) == bulk
    seed, committed = small[32:], spec_faults.commit_vector(fields, share)
    stream = spec.kdf(seed, "share-stream", header["session"], client.encode(), aggregator.encode()) if seed else b""
    return {
        "message": stated["message"],
        "client": client,
        "aggregator": aggregator,
        "party": party,
        "channel_secret": stated["channel_secret"],
        "ephemeral": letter["ephemeral"].hex(),
        "K": key.hex(),
        "key_hash": letter["key_hash"].hex(),
        "nonce": nonce.hex(),
        "seed": seed.hex(),
        "stream_key": stream.hex(),
        "sealed": letter["sealed"].hex(),
        "share": share[:4].tolist(),
        "share_sha256": spec.sha(spec.encode_elements(share)).hex(),
        "commitment_sha256": spec.sha(committed).hex(),
        "h": spec.share_hash(context, client, party, committed, nonce).hex(),
    }


def test_the_independent_verifier_makes_the_vectors_again() -> None:
    """From the files beside additive.json, and the aggregators' secrets that it states."""
    stated, evidence = copy.deepcopy(VECTORS), stored(make_vectors.SHARED_EVIDENCE)
    pins = spec.read_trust(stored(make_vectors.SHARED_TRUST).decode())
    record = spec.verify(evidence, pins)
    header = spec.decode("Evidence", spec.unpack(evidence)[0], 2**30)
    config = spec.decode("RoundConfig", header["config"], 2**20)
    advertised = {}
    for item in header["advertisements"]:
        part = spec.decode("Advertisement", item["body"], 1024)["backend"]
        advertised[item["name"]] = {
            "long": sorted(spec_faults.long_parties(record["context"], item["name"], config["policy"])),
            "hashes": [part[32 * a : 32 * (a + 1)].hex() for a in range(4)],
            "D": spec.shares_hash(record["context"], item["name"], part).hex(),
        }
    proof = spec_faults.verify_fault(stored(make_vectors.SHARED_FAULT), pins)
    assert {
        "evidence": make_vectors.SHARED_EVIDENCE,
        "trust": make_vectors.SHARED_TRUST,
        "sha256": record["evidence"].hex(),
        "ctx": record["context"].hex(),
        "sid": record["session"].hex(),
        "setup": spec.digest("setup", header["setup"]).hex(),
        "advertised": advertised,
        "participants_root": record["participants_root"].hex(),
        "record": record["encoding"].hex(),
        "free": spec_letter(stated["free"], bytes.fromhex(stated["free"]["message"]), header["config"]),
        "long": spec_letter(stated["long"], stored(make_vectors.SHARED_LETTER), header["config"]),
        "fault": {"proof": make_vectors.SHARED_FAULT, "kind": proof["kind"], "culprit": proof["culprit"]},
    } == VECTORS


@pytest.mark.parametrize(
    "module", [spec_faults, spec_card, spec_norm, spec_screening, spec_renunciation], ids=lambda module: module.__name__
)
def test_the_independent_verifier_is_independent(module: Any) -> None:
    """Beside the standard library it imports packages, its own other parts, and nothing of the product's."""
    imported = set()
    for node in ast.walk(ast.parse(Path(module.__file__).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module or "")
    packages = sys.stdlib_module_names | {"cryptography", "numpy"}
    ours = {name for name in imported if name.split(".")[0] not in packages}
    assert all(re.fullmatch(r"conformance\.(\w+\.)?independent_\w+", name) for name in ours), ours
