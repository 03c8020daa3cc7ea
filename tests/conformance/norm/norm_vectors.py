"""Makes vectors/norm.json and norm.proof: section 16 of the specification by examples, true and false.

A false one says what it differs in from the true one, and which check has to refuse it.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import numpy as np

from mpc.ring import P, to_bytes
from zk.commitment import Commitment
from zk.norm import commitment
from zk.norm.bound import NormBound
from zk.norm.layout import Layout, Witness
from zk.norm.proof import size_range
from zk.norm.prover import prove
from zk.norm.sketch import sketch, sketch_key
from zk.norm.statement import NormStatement, first_challenge

DIRECTORY: Final = Path(__file__).parent / "vectors"
VECTORS: Final = "norm.json"
PROOF: Final = "norm.proof"

CENTRE: Final = 2047
LENGTH: Final = 2100
"""A vector with columns from two streams."""
BOUND: Final = NormBound(clients=5, norm=40_000, most_weight=100_000, least_weight=10, limb_bits=11, limbs=2, counts=2)
OTHER_BOUNDS: Final = (
    NormBound(1, 1),
    NormBound(3000, 900, 40, 1, 7, 2),
    NormBound(1, 44_739_242, (1 << 28) - 1, 1 << 20, 1, 32, 2),
)
WEIGHTS: Final = {"alice": 300, "bob": 100_000, "Zoë": 10}


def sha(data: bytes) -> str:
    """In hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def derived(bound: NormBound) -> dict[str, Any]:
    """A bound's fields and what follows from them."""
    layout = Layout.of(bound)
    return {
        "n": bound.clients,
        "B": bound.norm,
        "M": bound.most_weight,
        "m": bound.least_weight,
        "lambda": bound.limb_bits,
        "L": bound.limbs,
        "e": bound.counts,
        "encoding": bound.to_bytes().hex(),
        "kappa": bound.shift,
        "offset": bound.offset,
        "alpha": bound.scale,
        "g": bound.share_shift,
        "M'": bound.share,
        "rho": layout.rank,
        "rows": layout.rows,
    }


def values(name: str) -> list[int]:
    """u of one client, within what its weight allows."""
    return [
        CENTRE + value
        for value in {
            "alice": [2 - 4 * (i % 2) if i < 900 else 0 for i in range(LENGTH)],
            "bob": [37 * i % 1401 - 700 for i in range(LENGTH)],
            "Zoë": [int(i % 250 == 3) for i in range(LENGTH)],
        }[name]
    ]


def client(name: str, session: bytes) -> tuple[NormStatement, Witness, np.ndarray]:
    """Statement, witness and side of one client."""
    u, layout = np.array(values(name), dtype=np.uint32), Layout.of(BOUND)
    seed = hashlib.sha256(b"entropy of " + name.encode()).digest()
    counts = (0, 1) if name == "Zoë" else (0, 0)
    witness = Witness(
        sketch(sketch_key(session), u, CENTRE),
        commitment.draw_randomness(seed, layout.rank),
        WEIGHTS[name],
        counts,
    )
    side = layout.side(witness.weight, counts)
    made = commitment.commit(witness.sketch, side, witness.randomness, layout.rank)
    vector_commitment = Commitment(np.arange(1536, dtype=np.uint32) * np.uint32(len(name.encode())))
    context = hashlib.sha256(b"context").digest()
    return NormStatement(context, session, name, vector_commitment, made, BOUND), witness, side


def bad_proofs(size: int) -> list[dict[str, Any]]:
    """What a proof of this size can be altered by, or be said to be of."""
    rows = Layout.of(BOUND).rows
    begins = np.cumsum((0, 32, 16 * 639, 16 * 1276, 16 * 765, 508 * rows, 127 * 16)).tolist()
    regions = ("root", "combination", "sum", "bits", "columns", "salts", "hashes")
    bad: list[dict[str, Any]] = []
    for region, begin, end in zip(regions, begins, [*begins[1:], size], strict=True):
        bad.append({"name": f"the first byte of {region}", "xor": [begin, 1], "check": "columns"})
        bad.append({"name": f"the last element of {region}", "xor": [end - 4, 1], "check": "columns"})
        if region not in ("root", "salts", "hashes"):
            bad.append({"name": f"an element of {region} plus p", "add_p": begin + 4, "check": "residues"})
    bad += [
        {"name": "a byte more", "append": "00", "check": "size"},
        {"name": "a hash more", "append": "00" * 32, "check": "columns"},
        {"name": "a byte less", "cut": 1, "check": "size"},
        {"name": "a hash less", "cut": 32, "check": "columns"},
        {"name": "no hashes at all", "cut": size - size_range(rows)[0], "check": "columns"},
        {"name": "too short for any", "cut": size - size_range(rows)[0] + 32, "check": "size"},
        {"name": "another session", "statement": {"sid": "00" * 32}, "check": "columns"},
        {"name": "another attempt", "statement": {"ctx": "00" * 32}, "check": "columns"},
        {"name": "another client", "statement": {"id": "bob"}, "check": "columns"},
        {"name": "another client's C'", "statement": {"C'": "bob"}, "check": "columns"},
        {"name": "another C", "statement": {"C_factor": 4}, "check": "columns"},
        {"name": "a bound that is one step wider", "statement": {"B": BOUND.norm + 1}, "check": "columns"},
        {"name": "weights that are one more", "statement": {"M": BOUND.most_weight + 1}, "check": "columns"},
        {"name": "a C' without its last element", "statement": {"C'_cut": 4}, "check": "commitment"},
    ]
    return bad


BAD_SUMS: Final = (
    {"name": "another value", "X": [7, 1], "check": "relation"},
    {"name": "a value far outside", "X": [7, 1 << 26], "check": "sketch"},
    {"name": "a value that is no sum's", "X": [7, 1 << 27], "check": "sketch"},
    {"name": "another limb", "side": [0, 1], "check": "relation"},
    {"name": "another count", "side": [3, 1], "check": "relation"},
    {"name": "a limb plus p", "side": [0, P], "check": "side"},
    {"name": "more of a count than clients", "side": [2, 4], "check": "side"},
    {"name": "other randomness", "T": [0, 1], "check": "relation"},
    {"name": "randomness above 3 for each", "T": [0, 9], "check": "randomness"},
    {"name": "another session", "sid": "00" * 32, "check": "relation"},
    {"name": "one C' twice, another not at all", "C'": [0, 0, 2], "check": "relation"},
    {"name": "one C' too many", "C'": [0, 1, 2, 2], "check": "relation"},
)


def vectors() -> tuple[dict[str, Any], bytes]:
    """The examples, and the proof of the first client."""
    session = hashlib.sha256(b"session").digest()
    made = {name: client(name, session) for name in sorted(WEIGHTS, key=lambda name: name.encode())}
    said, witness, _ = made["alice"]
    layout, secret = Layout.of(BOUND), hashlib.sha256(b"secret").digest()
    proof = prove(said, witness, secret)
    challenge = first_challenge(said.digest(), proof[:32], layout.rows, layout.equations)
    names = list(made)
    return {
        "bounds": [derived(bound) for bound in (BOUND, *OTHER_BOUNDS)],
        "sid": session.hex(),
        "ctx": said.context.hex(),
        "sketch_key": sketch_key(session).hex(),
        "H": CENTRE,
        "clients": {
            name: {
                "u": values(name),
                "weight": given.weight,
                "counts": list(given.counts),
                "s'": "b-bit integers, b = 2, of stream 0 of the key",
                "key": hashlib.sha256(b"entropy of " + name.encode()).hexdigest(),
                "sketch": given.sketch.tolist(),
                "C": f"element i is {len(name.encode())}·i, 0 <= i < 1536",
                "C'": statement.sketch.to_bytes().hex(),
                "statement": statement.digest().hex(),
            }
            for name, (statement, given, _) in made.items()
        },
        "proof": {
            "of": "alice",
            "bound": 0,
            "file": PROOF,
            "secret": secret.hex(),
            "sha256": sha(proof),
            "root": proof[:32].hex(),
            "challenge": challenge.key.hex(),
            "gamma_sha256": sha(to_bytes(challenge.rows)),
            "equations_sha256": sha(to_bytes(challenge.equations)),
            "delta_sha256": sha(to_bytes(challenge.bits)),
            "bad": bad_proofs(len(proof)),
            "changes": "xor: [offset, byte]; add_p: to the element at the offset; append: bytes; cut: bytes at the end",
        },
        "sum": {
            "of": names,
            "X": np.sum([values(name) for name in names], axis=0).tolist(),
            "side": np.sum([side for _, _, side in made.values()], axis=0).tolist(),
            "T'": "the sum of the clients' s'",
            "bad": list(BAD_SUMS),
            "changes": "X, side, T: [index, what is added]; C': of which clients, by index",
        },
        "p": P,
    }, proof


def to_json(found: dict[str, Any]) -> str:
    """The text of norm.json: lists of numbers on one line each."""
    return json.dumps(found, ensure_ascii=False, separators=(",", ":")).replace('},"', '},\n"') + "\n"


def write() -> None:
    """Write both files."""
    found, proof = vectors()
    (DIRECTORY / VECTORS).write_text(to_json(found), "utf-8")
    (DIRECTORY / PROOF).write_bytes(proof)
