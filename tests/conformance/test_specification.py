"""docs/specification.md is complete: a verifier written from it alone gives the product's verdict, to the byte.

``independent_verifier`` shares no code with the product. Here both get the same evidence: of real rounds, of real
rounds with flipped bits, and of forged rounds that are signed by everybody and break one rule each.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import json
import math
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import conformance.independent_verifier as spec
import conformance.make_vectors as make_vectors
import numpy as np
import pytest
from conformance.vector_files import DIRECTORY
from conformance.verdicts import flat, rearranged, respelled, verdict
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from support.federation import Federation, identity

import secure_agg
from secure_agg.errors import SecureAggError
from secure_agg.local.rounds import LocalRound
from secure_agg.protocol.config import Policy
from secure_agg.protocol.identity import Roster
from secure_agg.protocol.messages import ADVERTISE, Envelope
from secure_agg.roles.client.client import Client
from secure_agg.roles.task import Task
from secure_agg.roles.trust import TaskTrust, Trust
from secure_agg.tlog.note import VerifierKey
from secure_agg.tlog.receipt import Receipt

VECTORS = json.loads((DIRECTORY / make_vectors.VECTORS).read_text("utf-8"))


# --- rounds of the product ---------------------------------------------------------------------------------

SMALL = [(7,), (2, 3)]
LONG = [(103, 81), (1,), (3, 1, 5)]  # takes two streams of the matrix


@pytest.mark.parametrize(
    ("clients", "shapes", "arguments"),
    [
        (4, SMALL, {"backend": "plain"}),
        (4, SMALL, {}),
        (4, LONG, {"backend": "plain", "weights": [1, 2, 300, 70000], "max_weight": 100_000}),
        (5, LONG, {"bits": 8, "weights": [255, 256, 1, 9, 65536]}),
        (4, SMALL, {"bits": 20, "max_clients": 64}),  # rank 4
        (3, SMALL, {"bits": 24, "weights": [2**32 - 1, 2**31 + 7, 12347], "max_weight": 2**32 - 1}),
        (3, [(1,)], {"bits": 2, "clip": 1e-30, "weights": [13, 15, 17]}),
        (3, [(512,), (511,)], {"bits": 12, "clip": 1e30}),
        (10, SMALL, {"dropouts": {3: "masked-input"}}),
        (11, SMALL, {"dropouts": {0: "advertise", 4: "consistency", 10: "unmask"}, "weights": range(1, 12)}),
        (9, SMALL, {"dropouts": {8: "share-keys"}, "options": {"complete_up_to": 4}, "max_clients": 512}),
        (7, SMALL, {"backend": "plain", "dropouts": {5: "consistency"}, "bits": 7}),
        (3, LONG, {"backend": "plain", "norm_bound": 100.0}),
        (10, SMALL, {"norm_bound": 0.5, "dropouts": {3: "masked-input"}, "max_clients": 2500, "bits": 9}),
        (4, SMALL, {"norm_bound": 2.0, "weights": [3, 100, 7, 65], "weight_scale": 2, "weight_span": 8}),
    ],
    ids=str,
)
def test_accepts_the_rounds_of_the_product(clients: int, shapes: list[Any], arguments: dict[str, Any]) -> None:
    """With every codec, rank and backend, and whoever drops out: the same record and the same bits of the average."""
    rng = np.random.default_rng(clients)
    names = [f"client {i} – ÅΩ😀"[: 8 + i] for i in range(clients)]
    scale = min(arguments.get("clip", 8.0), 8.0) / 8
    updates = {name: [scale * rng.normal(size=shape) for shape in shapes] for name in names}
    arguments = dict(arguments)
    if "weights" in arguments:
        arguments["weights"] = dict(zip(names, arguments["weights"], strict=True))
    arguments["dropouts"] = {names[i]: phase for i, phase in arguments.get("dropouts", {}).items()}
    result = secure_agg.aggregate(updates, **arguments)
    proofs = list(result.evidence.proofs.values())[:1]  # it takes seconds for each
    record = spec.verify(result.evidence.to_bytes(), proofs=proofs)
    assert record["proofs"] == len(proofs)
    assert record["encoding"] == result.record.to_bytes()
    assert record["average"].tobytes() == flat(result.average).tobytes()
    assert record["participants"] == len(result.participants)
    fields = {name: getattr(result.record, name) for name in result.record.__struct_fields__}
    assert {name: record[name] for name in fields} == fields


def test_accepts_a_ledger_s_rounds_with_its_trust_file_and_receipts(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "ledger.db"
    rounds = [secure_agg.aggregate({n: [rng.normal(size=5)] for n in "abc"}, ledger=path) for _ in range(5)]
    text = (tmp_path / "ledger.db.trust.json").read_text("utf-8")
    log = bytes.fromhex(json.loads(text)["log"])
    previous = {"result_model": bytes(32), "encoding": None}
    for result in rounds:
        record = spec.verify(result.evidence.to_bytes(), spec.read_trust(text))
        assert record["encoding"] == result.record.to_bytes()
        assert record["start_model"] == previous["result_model"]
        last = previous["encoding"]
        assert record["previous_record"] == (spec.digest("round-record", last) if last else bytes(32))
        previous = record
        assert result.receipt is not None
        receipt = result.receipt.to_bytes()
        head = spec.verify_receipt(receipt, record["encoding"], log)
        checkpoint = result.receipt.checkpoint
        assert (head["size"], head["root"]) == (checkpoint.size, checkpoint.root)
        check_receipt_flips(receipt, record["encoding"], log)


def check_receipt_flips(receipt: bytes, record: bytes, log: bytes) -> None:
    key = VerifierKey(Receipt.from_bytes(receipt).checkpoint.origin, log)
    for position in range(len(receipt)):
        flipped = bytearray(receipt)
        flipped[position] ^= 1 << position % 8
        with pytest.raises(SecureAggError):
            Receipt.from_bytes(bytes(flipped)).verify(record, key)
        with pytest.raises(ValueError):
            spec.verify_receipt(bytes(flipped), record, log)


@cache
def federation_round(backend: str) -> tuple[str, bytes]:
    """The text of a trust file and a round's evidence."""
    federation = Federation(n=4, backend=backend)
    return federation.trust.to_json(), federation.round().run().to_bytes()


@pytest.mark.parametrize("backend", ["masking", "plain"])
def test_accepts_and_refuses_the_same_pins(backend: str) -> None:
    trust, evidence = federation_round(backend)
    assert verdict(evidence, trust) is not None
    stranger = identity("stranger").public.hex()

    def without_member(pins: dict[str, Any]) -> None:
        del pins["tasks"]["task"]["roster"]["c003"]

    def other_task(pins: dict[str, Any]) -> None:
        pins["tasks"] = {"another": pins["tasks"]["task"]}

    alterations: list[Callable[[dict[str, Any]], object]] = [
        without_member,
        other_task,
        lambda pins: pins["tasks"]["task"]["roster"].update(c003=stranger),
        lambda pins: pins["tasks"]["task"]["roster"].update(c004=stranger),
        lambda pins: pins["tasks"]["task"]["policy"].update(clip=7.5),
        lambda pins: pins["tasks"]["task"]["policy"].update(options={"complete_up_to": 128}),
        lambda pins: pins["operators"].update(aggregator=stranger),
        lambda pins: pins["operators"].clear(),
        lambda pins: pins["witnesses"].update(witness=stranger),
        lambda pins: pins.update(log=stranger),
    ]
    for alter in alterations:
        pins = json.loads(trust)
        alter(pins)
        assert verdict(evidence, json.dumps(pins)) is None


class _Informed(LocalRound):
    """Clients that know the beacon."""

    beacon = b"a beacon"

    def answer(self, request: Envelope, phase: str) -> bytes | None:
        if phase != ADVERTISE:
            return super().answer(request, phase)
        return self.clients[request.recipient].join(request.data, self.updates[request.recipient], beacon=self.beacon)


def test_a_drawn_cohort_takes_the_verifier_s_own_beacon() -> None:
    roster = Roster({f"c{i}": identity(f"c{i}").public for i in range(12)})
    policy = Policy.default(12, cohort_size=5, corruption_rate=0.0)
    operator = identity("aggregator")
    trust = Trust({"task": TaskTrust(roster, policy)}, Roster({operator.name: operator.public}))
    cohort = trust.cohort("task", _Informed.beacon)
    task = Task("task", trust)
    aggregator = task.lead(operator, task.next_round(((3,),), beacon=_Informed.beacon))
    clients = {name: Client(identity(name), trust) for name in cohort}
    updates = {name: [np.full(3, 0.25)] for name in cohort}
    evidence = _Informed(aggregator, clients, updates).run().to_bytes()
    assert verdict(evidence) is not None
    assert verdict(evidence, trust.to_json(), _Informed.beacon) is not None
    assert verdict(evidence, trust.to_json(), b"another") is None
    assert verdict(evidence, trust.to_json()) is None


# --- altered bytes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["masking", "plain"])
@settings(max_examples=100)
@given(data=st.data())
def test_flipped_bits_are_refused_by_both(backend: str, data: st.DataObject) -> None:
    """No bit of the evidence is free: neither in the header (two thirds of it are commitments) nor in the sums."""
    _, evidence = federation_round(backend)
    header = 4 + int.from_bytes(evidence[:4], "little")
    regions = st.sampled_from([(0, 2000), (0, header), (header, len(evidence)), (header - 500, header)])
    first, last = data.draw(regions)
    positions = data.draw(st.sets(st.integers(8 * first, 8 * last - 1), min_size=1, max_size=3))
    flipped = bytearray(evidence)
    for position in positions:
        flipped[position // 8] ^= 1 << position % 8
    assert verdict(bytes(flipped)) is None


def test_cut_and_longer_evidence_is_refused_by_both() -> None:
    _, evidence = federation_round("masking")
    for size in (0, 1, 3, 4, 5, 1000, len(evidence) - 4, len(evidence) - 1):
        assert verdict(evidence[:size]) is None
    for tail in (b"\0", bytes(4)):
        assert verdict(evidence + tail) is None


def test_other_spellings_are_refused_by_both() -> None:
    _, evidence = federation_round("plain")
    rest = b"\x99\x02"  # an array of 9 fields, the first of them version 2
    assert spec.unpack(evidence)[0].startswith(rest)
    longer: list[Callable[[bytes], bytes]] = [
        lambda header: b"\x99\xcc\x02" + header[2:],
        lambda header: b"\x99\xd0\x02" + header[2:],
        lambda header: b"\xdc\x00\x09" + header[1:],
        lambda header: b"\x9a" + header[1:] + b"\xc0",
        lambda header: header + b"\x00",
        lambda header: b"\x99\x01" + header[2:],
        lambda header: b"\x99\xc3" + header[2:],
        lambda header: b"\x99\xca\x40\x00\x00\x00" + header[2:],
        lambda header: b"\x81" + header[1:],
        lambda header: header[:2] + b"\xc6\x00\x00" + header[3:],
    ]
    for change in longer:
        assert verdict(respelled(evidence, change)) is None


@pytest.mark.parametrize("part", ["cohort", "advertisements", "openings", "agreement"])
def test_rearranged_lists_are_refused_by_both(part: str) -> None:
    _, evidence = federation_round("masking")
    changes: list[Callable[[dict[str, Any]], object]] = [
        lambda fields: fields[part].reverse(),
        lambda fields: fields[part].append(fields[part][-1]),
        lambda fields: fields[part].clear(),
        lambda fields: fields.update({part: fields[part][:2]}),
        lambda fields: fields.update({part: [{**item, "name": "c000"} for item in fields[part]]}),
        lambda fields: fields[part][0].update(name="nobody"),
    ]
    for change in changes:
        assert verdict(rearranged(evidence, change)) is None


def test_fewer_signatures_are_other_evidence_for_the_same_sum() -> None:
    """Of four signatures the quorum of three suffices; of the record only the hash of the evidence differs."""
    _, evidence = federation_round("masking")
    fewer = verdict(rearranged(evidence, lambda fields: fields["agreement"].pop(1)))
    full = verdict(evidence)
    assert fewer is not None
    assert full is not None
    assert fewer[:-32] == full[:-32]
    assert fewer != full


# --- rounds that everybody has signed and that break a rule -------------------------------------------------

BASE = (9).to_bytes(32, "little")


@dataclass
class Forgery:
    """A whole round made with the independent verifier's own functions; whoever makes it holds all keys."""

    clients: int = 4
    policy: dict[str, Any] | None = None
    config: dict[str, Any] | None = None
    values: list[int] | None = None
    """Of each client: all its coordinates."""
    weights: list[int] | None = None
    same: bool = False
    """All clients commit to the same."""
    noise: int = 0
    parts: list[bytes] | None = None
    stranger: bytes | None = None
    """Identity key of one more member, who says nothing."""
    shared: bool = False
    """Two members have one identity key."""
    counts: list[int] | None = None
    """Of each client, in both counts of limited weights."""
    signers: int | None = None
    keep: int | None = None
    """How many of the clients are summed."""

    def __str__(self) -> str:
        """What is changed, for the test's name."""
        changed = {name: value for name, value in vars(self).items() if value != getattr(Forgery, name)}
        return ascii(changed)[:60]

    def evidence(self) -> bytes:
        names = [f"c{i}" for i in range(self.clients)]
        keys = {
            name: Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"0" if self.shared else name.encode()).digest())
            for name in names
        }
        cohort = {name: keys[name].public_key().public_bytes_raw() for name in names}
        if self.stranger is not None:
            cohort["z"] = self.stranger
        policy: dict[str, Any] = {
            "backend": "plain",
            "options": [],
            "clip": 1.0,
            "bits": 8,
            "commit_packed": False,
            "max_error": 1e60,
            "max_weight": 10,
            "weight_scale": 0,
            "weight_span": 0,
            "first_weight": 0,
            "cohort_size": 0,
            "max_clients": len(cohort),
            "min_clients": 2,
            "min_advertised": 3,
            "max_corrupt": 0,
            "max_parameters": 100,
        } | (self.policy or {})
        empty = spec.roster_digest({})
        config: dict[str, Any] = {
            "protocol": spec.PROTOCOL,
            "task": "task",
            "round": 0,
            "attempt": 0,
            "epoch": 0,
            "generation": 0,
            "draw": 0,
            "start_model": bytes(32),
            "base_model": bytes(32),
            "instructions": bytes(32),
            "previous_record": bytes(32),
            "renounced": bytes(32),
            "policy": policy,
            "weight_limit": policy["max_weight"],
            "shapes": [[5]],
            "cohort_size": len(cohort),
            "cohort_root": spec.roster_root(cohort),
            "beacon": b"",
            "operators": empty,
            "log_key": b"",
            "witnesses": empty,
            "setup": b"",
        } | (self.config or {})
        encoded = spec.encode("RoundConfig", config)
        context = spec.digest("round-config", encoded)
        size = 5 if sum(map(math.prod, config["shapes"])) == 5 else 1
        rank, limbs = spec.rank(config) or 4, spec.limbs(policy) + spec.counts(policy)
        bottom = spec.mask_bits(policy)
        advertisements: list[dict[str, Any]] = []
        openings: list[dict[str, Any]] = []
        sums = np.zeros(size + limbs + (rank + 2) * 512, np.int64)
        kept = names[: self.keep]
        for i, name in enumerate(names):
            weight = self.weights[i] if self.weights else 3
            x = [self.values[i] if self.values else 100 + i] * size
            digits, base = spec.limbs(policy), 2 ** (policy["bits"] - 1)
            x += [weight // base**limb % base for limb in range(digits)]
            x += [self.counts[i] if self.counts else 0] * (limbs - digits)
            seed = b"same" if self.same else name.encode()
            s = spec.words(hashlib.sha256(seed).digest(), 0, (rank + 2) * 512).astype(np.int64) % 2**bottom
            s[0] += self.noise
            vector = np.array([*x, *s.tolist()], np.int64)
            made = spec.commit(spec.pack(vector[: len(x)], policy), vector[len(x) :], rank)
            nonce = hashlib.sha256(name.encode()).digest()
            round_bytes = [config["task"].encode(), spec.u64(config["round"]), spec.u64(config["attempt"])]
            hashed = spec.digest("commitment-hash", *round_bytes, name.encode(), made, nonce)
            body = {"commitment_hash": hashed, "backend": self.parts[i] if self.parts else b""}
            signed = spec.encode("Advertisement", body)
            message = spec.frame("message", context, b"advertise", name.encode(), b"", signed, b"")
            advertisements.append({"name": name, "body": signed, "signature": keys[name].sign(message)})
            if name in kept:
                openings.append({"name": name, "commitment": made, "nonce": nonce})
                sums += vector
        leaves = [spec.encode("SignedAdvertisement", item) for item in advertisements]
        session = spec.digest("session", context, spec.u64(len(leaves)), spec.root(leaves))
        entries = [
            spec.frame("survivor", item["name"].encode(), spec.digest("commitment", item["commitment"]))
            for item in openings
        ]
        agreed = spec.frame("agreement", session, spec.u64(len(entries)), spec.root(entries))
        try:
            means, *_ = spec.decode_sum(sums[: size + limbs], len(kept), config)
            result = spec.model_digest(config["shapes"], means)
        except (ValueError, ZeroDivisionError):
            result = bytes(32)
        fields = {
            "version": 2,
            "config": encoded,
            "cohort": [{"name": name, "public": key} for name, key in cohort.items()],
            "advertisements": advertisements,
            "openings": openings,
            "agreement": [{"name": name, "signature": keys[name].sign(agreed)} for name in kept[: self.signers]],
            "setup": b"",
            "attestation": [],
            "result_model": result,
        }
        header = spec.encode("Evidence", fields)
        return len(header).to_bytes(4, "little") + header + sums.astype("<u4").tobytes()


def pair(i: int) -> bytes:
    """Two channel and mask keys; that there is nobody who knows their secrets does not matter here."""
    return (100 + 2 * i).to_bytes(32, "little") + (101 + 2 * i).to_bytes(32, "little")


def masked(first: bytes) -> Forgery:
    return Forgery(policy={"backend": "masking"}, parts=[first, pair(1), pair(2), pair(3)])


LIMITED = {"weight_scale": 3, "weight_span": 4, "first_weight": 8}
"""Weights count as 8 at most, and as 2 at least, in a task's first round."""


@pytest.mark.parametrize(
    "forgery",
    [
        Forgery(),
        Forgery(keep=3),
        Forgery(signers=3),
        Forgery(policy={"max_corrupt": 1, "min_advertised": 4}, signers=3),
        Forgery(policy={"bits": 2}, values=[0, 1, 2, 3]),
        Forgery(policy={"bits": 24, "max_weight": 2**32 - 1}, weights=[2**32 - 1 - i for i in range(4)]),
        Forgery(policy={"max_error": 1 / 127 * 10}),
        Forgery(policy=LIMITED, config={"weight_limit": 8}),
        Forgery(policy=LIMITED, config={"weight_limit": 8}, counts=[1, 0, 1, 1]),
        Forgery(policy=LIMITED, config={"weight_limit": 9, "previous_record": b"p" * 32}),
        Forgery(weights=[5] * 4, config={"weight_limit": 5}),
        Forgery(config={"shapes": [[], [2, 2]]}),
        Forgery(policy={"clip": 1e30}),
        Forgery(policy={"clip": 1e-30}),
        Forgery(policy={"max_clients": 2**17}),
        Forgery(policy={"max_clients": 2**17 + 1}),
        Forgery(policy={"max_clients": 2**19}),
        Forgery(policy={"max_parameters": 5}),
        Forgery(policy={"max_parameters": 2**32}),
        Forgery(policy={"cohort_size": 4}, config={"beacon": b"b" * 64}),
        Forgery(config={"round": 2**53, "attempt": 2**32}),
        Forgery(config={"log_key": BASE}),
        Forgery(config={"shapes": [[1] * 32]}),
        Forgery(config={"task": "Ωφ 😀"}),
        Forgery(values=[300, 100, 100, 100], weights=[10] * 4),  # only the sum is checked
        Forgery(policy={"commit_packed": True}),
        Forgery(policy={"commit_packed": True, "bits": 4}, values=[0, 15, 7, 8]),
        Forgery(policy={"commit_packed": True, "bits": 2}, values=[3, 1, 2, 0]),
        Forgery(policy={"commit_packed": True, "bits": 16}, values=[32768] * 4),  # one value fills an element
        Forgery(policy={"commit_packed": True, "max_clients": 2**15}),
        Forgery(policy={"commit_packed": True}, values=[300, 100, 100, 100], weights=[10] * 4),
        Forgery(weights=[0, 20, 10, 10]),
        Forgery(noise=1),
        masked(pair(0)),
        masked(pair(1)),  # shown twice: the clients' business
        masked(BASE + pair(0)[:32]),
    ],
    ids=str,
)
def test_both_accept_what_the_rules_allow(forgery: Forgery) -> None:
    assert verdict(forgery.evidence()) is not None


SMALL_ORDER = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")


@pytest.mark.parametrize(
    ("reason", "forgery"),
    [
        ("too few or too many openings", Forgery(keep=2)),
        ("too few or too many openings", Forgery(policy={"min_clients": 3, "min_advertised": 4}, keep=2)),
        ("too few signatures", Forgery(policy={"max_corrupt": 1, "min_advertised": 4}, signers=2)),
        ("too few signatures", Forgery(signers=2)),
        ("cohort_size is out of range", Forgery(clients=2, policy={"max_clients": 3})),
        ("max_corrupt is too large", Forgery(policy={"max_corrupt": 1})),
        ("bits out of range", Forgery(policy={"bits": 1}, values=[0, 1, 0, 1])),
        ("bits out of range", Forgery(policy={"bits": 25})),
        ("clip out of range", Forgery(policy={"clip": 1.1e30})),
        ("clip out of range", Forgery(policy={"clip": 0.9e-30})),
        ("clip out of range", Forgery(policy={"clip": float("nan")})),
        ("clip out of range", Forgery(policy={"clip": float("inf")})),
        ("RoundConfig.policy.clip is no float", Forgery(policy={"clip": 1})),
        ("max_error out of range", Forgery(policy={"max_error": 0.0})),
        ("max_error out of range", Forgery(policy={"max_error": float("inf")})),
        ("max_error out of range", Forgery(policy={"max_error": float("nan")})),
        ("the means could be too far off", Forgery(policy={"max_error": math.nextafter(1 / 127 * 10, 0)})),
        ("the means could be too far off", Forgery(policy={**LIMITED, "max_error": 0.03}, config={"weight_limit": 8})),
        (
            "the means could be too far off",  # not in this round, in one that may follow
            Forgery(policy={**LIMITED, "max_error": 0.03}, config={"weight_limit": 3, "previous_record": b"p" * 32}),
        ),
        ("weight_limit out of range", Forgery(config={"weight_limit": 11})),
        ("weight_limit out of range", Forgery(config={"weight_limit": 0})),
        ("the first round has another weight limit", Forgery(policy=LIMITED, config={"weight_limit": 7})),
        ("limits of weights that are kept", Forgery(policy={"weight_span": 4})),
        ("limits of weights that are kept", Forgery(policy={"first_weight": 4})),
        ("the limits of weights are out of range", Forgery(policy=LIMITED | {"weight_scale": 2**16 + 1})),
        ("the limits of weights are out of range", Forgery(policy=LIMITED | {"weight_span": 0})),
        ("the limits of weights are out of range", Forgery(policy=LIMITED | {"weight_span": 2**24 + 1})),
        ("the limits of weights are out of range", Forgery(policy=LIMITED | {"first_weight": 11})),
        (
            "the sum of the weights is out of range",
            Forgery(policy=LIMITED, config={"weight_limit": 8}, weights=[1] * 4),
        ),
        ("more weights were limited", Forgery(policy=LIMITED, config={"weight_limit": 8}, counts=[5, 0, 0, 0])),
        ("max_weight out of range", Forgery(policy={"max_weight": 2**32})),
        ("max_weight out of range", Forgery(policy={"max_weight": 0})),
        ("client limits out of order", Forgery(policy={"min_clients": 1})),
        ("client limits out of order", Forgery(policy={"min_clients": 4})),
        ("client limits out of order", Forgery(policy={"min_advertised": 5})),
        ("cohort_size is out of range", Forgery(policy={"max_clients": 3})),
        ("no commitment rank is enough", Forgery(policy={"max_clients": 2**19 + 1})),
        ("too many parameters", Forgery(policy={"max_parameters": 4})),
        ("max_parameters out of range", Forgery(policy={"max_parameters": 2**32 + 1})),
        ("max_parameters out of range", Forgery(policy={"max_parameters": 0})),
        ("unknown backend", Forgery(policy={"backend": "nothing"})),
        ("unknown backend", Forgery(policy={"backend": ""})),
        (
            "options are out of order",
            Forgery(policy={"options": [{"name": "b", "value": 1}, {"name": "a", "value": 0}]}),
        ),
        (
            "options are out of order",
            Forgery(policy={"options": [{"name": "a", "value": 1}, {"name": "a", "value": 0}]}),
        ),
        ("an option is unknown or out of range", Forgery(policy={"options": [{"name": "a", "value": 1}]})),
        ("these backends have no setup", Forgery(config={"setup": bytes(32)})),
        ("a beacon is missing or there is one too many", Forgery(policy={"cohort_size": 4})),
        ("the policy's cohort_size is out of range", Forgery(policy={"cohort_size": 2}, config={"beacon": b"b"})),
        ("the policy's cohort_size is out of range", Forgery(policy={"cohort_size": 5}, config={"beacon": b"b"})),
        ("the beacon is too long", Forgery(policy={"cohort_size": 4}, config={"beacon": b"b" * 65})),
        ("a beacon is missing or there is one too many", Forgery(config={"beacon": b"b"})),
        ("another protocol", Forgery(config={"protocol": "secure-agg/1"})),
        ("an id has a wrong length", Forgery(config={"task": ""})),
        ("an id has a character that ids don't have", Forgery(config={"task": "a\n"})),
        ("an id is not in normal form C", Forgery(config={"task": "A\u030a"})),
        ("an id has a wrong length", Forgery(config={"task": "é" * 65})),
        ("the round or attempt is too large", Forgery(config={"round": 2**53 + 1})),
        ("the round or attempt is too large", Forgery(config={"attempt": 2**32 + 1})),
        ("the log key has a wrong length", Forgery(config={"log_key": b"key"})),
        ("the digest of the setup has a wrong length", Forgery(config={"setup": b"key"})),
        ("RoundConfig.start_model has a wrong length", Forgery(config={"start_model": bytes(31)})),
        ("RoundConfig.base_model has a wrong length", Forgery(config={"base_model": b""})),
        ("RoundConfig.instructions has a wrong length", Forgery(config={"instructions": bytes(33)})),
        ("RoundConfig.operators has a wrong length", Forgery(config={"operators": bytes(33)})),
        ("no array", Forgery(config={"shapes": []})),
        ("an array has a side of 0", Forgery(config={"shapes": [[5], [0]]})),
        ("an array has too many dimensions", Forgery(config={"shapes": [[1] * 33]})),
        ("too many parameters", Forgery(config={"shapes": [[2**40] * 4]})),
        ("the sums have a wrong length", Forgery(config={"shapes": [[4]]})),
        ("the cohort has another size", Forgery(config={"cohort_size": 3})),
        ("another cohort than the configuration's", Forgery(config={"cohort_root": bytes(32)})),
        ("a sum is out of range", Forgery(values=[256, 255, 255, 255])),
        ("a sum of the randomness is out of range", Forgery(noise=1200)),
        ("the sum of the weights is out of range", Forgery(weights=[0, 0, 0, 3])),
        ("the sum of the weights is out of range", Forgery(weights=[11, 10, 10, 10])),
        ("a mean is out of range", Forgery(weights=[1, 1, 1, 1], values=[254, 254, 254, 254])),  # a mean of 10 · clip
        ("a commitment is there twice", Forgery(same=True, values=[100] * 4)),
        ("an identity key is there twice", Forgery(shared=True)),
        ("a backend part in a plain round", Forgery(parts=[b"", b"", b"x", b""])),
        ("the backend part has a wrong length", Forgery(policy={"backend": "masking"})),
        ("the backend part has a wrong length", masked(pair(0)[:63])),
        ("the backend part has a wrong length", masked(pair(0) + b"\0")),
        ("channel and mask key are the same", masked(BASE + BASE)),
        ("a channel or mask key is of low order", masked(bytes(32) + BASE)),
        ("a channel or mask key is of low order", masked(BASE + (1).to_bytes(32, "little"))),
        ("a channel or mask key is of low order", masked(BASE + (spec.CURVE - 1).to_bytes(32, "little"))),
        (
            "a channel or mask key is of low order",
            masked(BASE + bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")),
        ),
        (
            "a channel or mask key is of low order",
            masked(bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157") + BASE),
        ),
        ("a channel or mask key is not reduced", masked(BASE + (spec.CURVE + 9).to_bytes(32, "little"))),
        ("a channel or mask key is not reduced", masked(BASE + (2**255 + 9).to_bytes(32, "little"))),
        ("an identity key is of small order", Forgery(stranger=(1).to_bytes(32, "little"))),
        ("an identity key is not canonical", Forgery(stranger=(1 + 2**255).to_bytes(32, "little"))),
        ("an identity key is of small order", Forgery(stranger=bytes(32))),
        ("an identity key is of small order", Forgery(stranger=(spec.CURVE - 1).to_bytes(32, "little"))),
        ("an identity key is of small order", Forgery(stranger=SMALL_ORDER)),
        ("an identity key is not canonical", Forgery(stranger=(spec.CURVE + 3).to_bytes(32, "little"))),
        ("an identity key is not on the curve", Forgery(stranger=(2).to_bytes(32, "little"))),  # no point has this y
    ],
    ids=str,
)
def test_both_refuse_what_breaks_a_rule(reason: str, forgery: Forgery) -> None:
    """Nothing else is wrong: the independent verifier names the rule."""
    evidence = forgery.evidence()
    assert verdict(evidence) is None
    with pytest.raises(ValueError, match=re.escape(reason)):
        spec.verify(evidence)


# --- fixed vectors -----------------------------------------------------------------------------------------


@cache
def vector_round() -> make_vectors.Round:
    return make_vectors.play()


def test_the_product_makes_the_vectors_again() -> None:
    made = vector_round()
    assert (DIRECTORY / make_vectors.EVIDENCE).read_bytes() == made.evidence.to_bytes()
    assert (DIRECTORY / make_vectors.TRUST).read_text("utf-8") == made.trust.to_json()
    assert make_vectors.vectors(made) == VECTORS


def test_both_accept_the_fixed_round() -> None:
    evidence = (DIRECTORY / make_vectors.EVIDENCE).read_bytes()
    trust = (DIRECTORY / make_vectors.TRUST).read_text("utf-8")
    record = verdict(evidence, trust)
    assert record is not None
    assert record.hex() == VECTORS["round"]["record"]


def spec_commitment(rank: int, stated: dict[str, Any]) -> dict[str, Any]:
    key = spec.matrix_key(rank)
    x, s = make_vectors.coordinates(1000, 37), make_vectors.coordinates((rank + 2) * 512, 101)
    made = spec.commit(np.array(x), np.array(s), rank)
    return {
        "rank": rank,
        "matrix_key": key.hex(),
        "matrix_stream_0": spec.residues(key, 0, 8).tolist(),
        "x": stated["x"],
        "s": stated["s"],
        "elements": spec.decode_elements(made, rank * 512, "a commitment")[:8].tolist(),
        "sha256": spec.sha(made).hex(),
    }


def spec_round(stated: dict[str, Any]) -> dict[str, Any]:
    evidence = (DIRECTORY / stated["evidence"]).read_bytes()
    pins = spec.read_trust((DIRECTORY / stated["trust"]).read_text("utf-8"))
    record = spec.verify(evidence, pins)
    header = spec.decode("Evidence", spec.unpack(evidence)[0], 2**30)
    config = spec.decode("RoundConfig", header["config"], 2**20)
    cohort = {member["name"]: member["public"] for member in header["cohort"]}
    place = [config["task"].encode(), spec.u64(config["round"]), spec.u64(config["attempt"])]
    hashes = {
        item["name"]: spec.digest("commitment-hash", *place, item["name"].encode(), item["commitment"], item["nonce"])
        for item in header["openings"]
    }
    return {
        "evidence": stated["evidence"],
        "trust": stated["trust"],
        "sha256": record["evidence"].hex(),
        "ctx": spec.digest("round-config", header["config"]).hex(),
        "roster_root": spec.roster_root(cohort).hex(),
        "roster_digest": spec.roster_digest(cohort).hex(),
        "operators": spec.roster_digest(spec.read_roster(pins["operators"])).hex(),
        "witnesses": spec.roster_digest({}).hex(),
        "D": {name: value.hex() for name, value in hashes.items()},
        "sid": record["session"].hex(),
        "participants_root": record["participants_root"].hex(),
        "weight_sum": record["weight_sum"],
        "average": [value.hex() for value in record["average"].tolist()],
        "result_model": spec.model_digest(config["shapes"], record["average"]).hex(),
        "record": record["encoding"].hex(),
        "record_digest": spec.digest("round-record", record["encoding"]).hex(),
    }


def spec_receipt(stated: dict[str, Any]) -> dict[str, Any]:
    record, receipt = bytes.fromhex(VECTORS["round"]["record"]), stated["receipt"].encode()
    log = json.loads((DIRECTORY / make_vectors.TRUST).read_text("utf-8"))["log"]
    witnesses = {"vectors.example/witness": bytes.fromhex(stated["witness"])}
    head = spec.verify_receipt(receipt, record, bytes.fromhex(log), "vectors.example/log", witnesses)
    assert head["cosigned"] == {"vectors.example/witness": stated["cosigned"]}
    first, _, last = stated["leaves"]
    root = spec.root([bytes.fromhex(first), record, bytes.fromhex(last)])
    assert root == head["root"]
    return {**stated, "root": root.hex()}


def spec_sharing(stated: dict[str, Any]) -> dict[str, Any]:
    secret, key, threshold = bytes.fromhex(stated["secret"]), bytes.fromhex(stated["key"]), stated["threshold"]
    stream = spec.prg(key, (threshold - 1) * 9)
    coefficients = stream.reshape(threshold - 1, 9).T.tolist()
    shares = [spec.share_secret(secret, coefficients, holder) for holder in range(len(stated["shares"]))]
    for chosen in ((0, 1, 2), (4, 1, 3)):
        assert spec.rebuild_secret({holder: shares[holder] for holder in chosen}) == secret
    return {**stated, "first_coefficients": stream[:3].tolist(), "shares": [share.hex() for share in shares]}


def spec_codec(stated: dict[str, Any]) -> dict[str, Any]:
    policy, limit, values = stated["policy"], stated["weight_limit"], stated["values"]
    words = spec.words(bytes.fromhex(stated["key"]), 0, len(values)).tolist()
    policy = policy | {"options": []}
    config = {"policy": policy, "weight_limit": limit}
    rows = []
    for weight in (row["weight"] for row in stated["clients"]):
        carried = min(max(weight, spec.least_weight(config)), limit)
        codes = [spec.encode_value(v, carried, limit, t, policy) for v, t in zip(values, words, strict=True)]
        rows.append({"weight": weight, "encoded": [*codes, *spec.encode_weight(weight, config)]})
    return {**stated, "clients": rows}


def test_the_independent_verifier_makes_the_vectors_again() -> None:
    """From what vectors.json states as input, and docs/vectors/round.evidence."""
    stated = copy.deepcopy(VECTORS)
    made: dict[str, Any] = {}
    parts = [bytes.fromhex(part) for part in stated["frame"]["parts"]]
    made["frame"] = {**stated["frame"], "frame": spec.frame(stated["frame"]["label"], *parts).hex()}
    kdf = stated["kdf"]
    context = [bytes.fromhex(part) for part in kdf["context"]]
    made["kdf"] = {**kdf, "key": spec.kdf(bytes.fromhex(kdf["secret"]), kdf["label"], *context).hex()}
    stream = spec.prg(bytes.fromhex(stated["prg"]["key"]), stated["prg"]["length"])
    made["prg"] = {
        "key": stated["prg"]["key"],
        "length": len(stream),
        "first": stream[:8].tolist(),
        "from_65536": stream[65536:].tolist(),
        "sha256": spec.sha(spec.encode_elements(stream)).hex(),
    }
    made["sharing"] = spec_sharing(stated["sharing"])
    model = stated["model"]
    made["model"] = {**model, "digest": spec.model_digest(model["shapes"], np.array(model["elements"])).hex()}
    made["codec"] = spec_codec(stated["codec"])
    made["commitments"] = [spec_commitment(item["rank"], item) for item in stated["commitments"]]
    made["round"] = spec_round(stated["round"])
    made["receipt"] = spec_receipt(stated["receipt"])
    assert made == VECTORS


def test_the_independent_verifier_is_independent() -> None:
    """Beside the standard library it imports three packages, and none of the product's."""
    imported = set()
    for node in ast.walk(ast.parse(Path(spec.__file__).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert imported - sys.stdlib_module_names == {"conformance", "cryptography", "msgspec", "numpy"}
