"""A second implementation of the proofs of fault of docs/specification.md, written from that file alone.

It goes with `independent_verifier` and shares nothing with the product either. `verify_fault` is the entry; everything
that it refuses is a `ValueError`.

Section numbers are those of the specification.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from conformance.independent_verifier import (
    RECORDS,
    N,
    P,
    aggregators,
    buffers,
    check_backend,
    check_id,
    check_identity,
    check_limits,
    check_pins,
    check_setup,
    check_signature,
    combine,
    commit,
    decode,
    decode_elements,
    digest,
    draw,
    encode,
    encode_elements,
    frame,
    kdf,
    norm,
    norm_bound,
    opened_shares,
    option,
    prg,
    rank,
    read_roster,
    require,
    root,
    roster_root,
    sha,
    share_hash,
    shared_length,
    shares_hash,
    sketched,
    threshold,
    u64,
    unpack,
    whole_hash,
)
from conformance.screening.independent_screening import check as check_screening
from conformance.sparse.independent_sparse import is_sparse, read_exhibit
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

RECORDS |= {
    "FaultProof": {
        "format": "str",
        "kind": "str",
        "culprit": "str",
        "public": "bin32",
        "config": "bin",
        "setup": "bin",
        "exhibits": ["bin"],
    },
    "Header": {
        "version": "int",
        "session": "bin32",
        "phase": "str",
        "sender": "str",
        "recipient": "str",
        "body": "bin",
        "bulk_digest": "bin",
        "signature": "bin64",
    },
    "StatementEntry": {"name": "str", "value": "bin32"},
    "Statement": {"entries": ["StatementEntry"]},
    "ShareLetter": {"ephemeral": "bin32", "key_hash": "bin32", "hashes": "bin", "sealed": "bin"},
    "Revealed": {"root": "bin32", "nonces": "bin"},
    "PartialSum": {"root": "bin32"},
    "AdvertisementList": {"advertisements": ["SignedAdvertisement"], "backend": "bin"},
    "HiddenInput": {"commitment": "bin", "nonce": "bin", "backend": "bin"},
    "BoundedInput": {"sketch": "bin", "proof": "bin", "signature": "bin", "backend": "bin"},
}

LIMIT = 1 << 34


# ---------------------------------------------------------------------------------------------- 9. Shares


def long_parties(context: bytes, client: str, policy: dict[str, Any]) -> set[int]:
    """The parties that get long shares of a client."""
    k = aggregators(policy)
    start = int.from_bytes(digest("long-share", context, client.encode())[:8], "little")
    return {(start + i) % k for i in range(k - threshold(policy) + 1)}


def letter_key(secret: bytes, public: bytes, session: bytes, client: str, aggregator: str) -> bytes:
    """K, from either side's secret and the other's public key."""
    private = X25519PrivateKey.from_private_bytes(secret)
    raw = private.exchange(X25519PublicKey.from_public_bytes(public))
    agreed = kdf(raw, "key-agreement", *sorted((private.public_key().public_bytes_raw(), public)))
    return kdf(agreed, "share-key", session, client.encode(), aggregator.encode())


def key_hash(session: bytes, client: str, aggregator: str, key: bytes) -> bytes:
    return digest("share-key-hash", session, client.encode(), aggregator.encode(), key)


def seal(key: bytes, number: int, plain: bytes, session: bytes, client: str, aggregator: str, hashes: bytes) -> bytes:
    associated = frame("share", session, client.encode(), aggregator.encode(), hashes)
    return AESGCM(key).encrypt(number.to_bytes(12, "big"), plain, associated)


def unseal(key: bytes, number: int, data: bytes, session: bytes, client: str, aggregator: str, hashes: bytes) -> bytes:
    associated = frame("share", session, client.encode(), aggregator.encode(), hashes)
    try:
        return AESGCM(key).decrypt(number.to_bytes(12, "big"), data, associated)
    except InvalidTag:
        raise ValueError("the letter does not open") from None


def free_share(seed: bytes, session: bytes, client: str, aggregator: str, length: int) -> np.ndarray:
    return prg(kdf(seed, "share-stream", session, client.encode(), aggregator.encode()), length)


def open_letter(
    config: dict[str, Any],
    context: bytes,
    letter: dict[str, Any],
    bulk: bytes,
    client: str,
    aggregator: str,
    party: int,
    key: bytes,
) -> tuple[bytes, np.ndarray]:
    """The nonce and the share in a letter."""
    policy, session, hashes = config["policy"], digest("session", context), letter["hashes"]
    length = shared_length(config)
    plain = unseal(key, 0, letter["sealed"], session, client, aggregator, hashes)
    if party in long_parties(context, client, policy):
        require(len(plain) == 32, "the letter has a wrong length")
        share = unseal(key, 1, bulk, session, client, aggregator, hashes)
        return plain, decode_elements(share, length, "a share")
    require(len(plain) == 64 and bulk == b"", "the letter has a wrong length")
    return plain[:32], free_share(plain[32:], session, client, aggregator, length)


def commit_vector(config: dict[str, Any], vector: np.ndarray) -> bytes:
    """Section 5's map of a whole vector or share."""
    k = rank(config)
    split = len(vector) - (k + 2) * N
    return commit(vector[:split], vector[split:], k)


# ---------------------------------------------------------------------------------------------- 9. Proofs of fault


class Case:
    """What a proof of fault says before its exhibits are looked at."""

    def __init__(self, data: bytes):
        self.proof = decode("FaultProof", data, LIMIT)
        self.kind, self.culprit, self.public = (self.proof[name] for name in ("kind", "culprit", "public"))
        self.exhibits: list[bytes] = self.proof["exhibits"]
        require(self.proof["format"] == "secure-agg/fault/1", "another format of proof")
        check_identity(self.public)
        self.config = decode("RoundConfig", self.proof["config"], 2**20)
        check_limits(self.config)
        self.policy = self.config["policy"]
        check_id(self.policy["backend"])
        self.context = digest("round-config", self.proof["config"])
        self.session = digest("session", self.context)
        self.aggregators: dict[str, bytes] = {}
        if self.kind in ("two-advertisements", "bad-norm-proof"):
            require(self.proof["setup"] == b"", "a setup that nobody needs")
        elif self.policy["backend"] == "masking":
            check_backend(self.config)
        else:
            require(self.policy["backend"] == "additive", "this backend has no such fault")
            check_backend(self.config)
            members = check_setup(self.config, self.proof["setup"])
            self.aggregators = {member["name"]: member["identity"] for member in members}

    @property
    def size(self) -> int:
        """Of all h that a client signs."""
        return 32 * (aggregators(self.policy) + (2 if buffers().honest(self.policy) else 1))

    @property
    def number(self) -> int:
        """Of the culprit among the aggregators."""
        require(self.aggregators.get(self.culprit) == self.public, "the culprit is no aggregator of the round")
        return list(self.aggregators).index(self.culprit)

    def shown(self, count: int) -> list[bytes]:
        require(len(self.exhibits) == count, "another number of exhibits")
        return self.exhibits

    def message(self, data: bytes, phase: str, session: bytes) -> tuple[dict[str, Any], bytes]:
        """The header and bulk of a message of the culprit."""
        encoded, bulk = unpack(data)
        more = 147456 if option(self.policy, "norm_steps", 0) else 0
        header = decode("Header", encoded, (64 + self.config["cohort_size"]) * 1024 + more)
        require(header["version"] == 1, "another version of message")
        require(header["session"] == session and header["phase"] == phase, "a message of another round or phase")
        require(header["sender"] == self.culprit, "a message of somebody else")
        require(header["bulk_digest"] == (sha(bulk) if bulk else b""), "another bulk than was signed")
        texts = (header[name].encode() for name in ("phase", "sender", "recipient"))
        signed = frame("message", session, *texts, header["body"], header["bulk_digest"])
        check_signature(self.public, header["signature"], signed, "a message")
        return header, bulk

    def advertisement(self, data: bytes) -> dict[str, Any]:
        """The advertisement in an encoded SignedAdvertisement of the culprit."""
        item = decode("SignedAdvertisement", data, LIMIT)
        require(item["name"] == self.culprit, "an advertisement of somebody else")
        parts = (self.context, b"advertise", self.culprit.encode(), b"", item["body"], b"")
        check_signature(self.public, item["signature"], frame("message", *parts), "an advertisement")
        return decode("Advertisement", item["body"], 1024)

    def letter(self, data: bytes) -> tuple[dict[str, Any], bytes, str]:
        """Letter, bulk and addressee."""
        header, bulk = self.message(data, "share", self.session)
        letter = decode("ShareLetter", header["body"], 2**16)
        require(len(letter["hashes"]) == self.size, "the hashes have a wrong length")
        return letter, bulk, header["recipient"]

    def statement(self, data: bytes) -> tuple[list[dict[str, Any]], bytes]:
        """The entries of a statement and their root."""
        entries = decode("Statement", data, LIMIT)["entries"]
        return entries, root([frame("survivor", entry["name"].encode(), entry["value"]) for entry in entries])

    def revealed(self, data: bytes, expected: bytes) -> tuple[bytes, bytes]:
        """The nonces and the commitments that the culprit gave out."""
        header, bulk = self.message(data, "reveal-commitments", self.session)
        fields = decode("Revealed", header["body"], LIMIT)
        require(fields["root"] == expected, "commitments of another set")
        return fields["nonces"], bulk


def two_advertisements(case: Case) -> None:
    bodies = []
    for data in case.shown(2):
        header, bulk = case.message(data, "advertise", case.context)
        require(header["recipient"] == "" and bulk == b"", "an advertisement has no recipient and no bulk")
        bodies.append(header["body"])
    require(bodies[0] != bodies[1], "one advertisement twice")


def two_commitments(case: Case) -> None:
    advertised, data = case.shown(2)
    body, (letter, _, _) = case.advertisement(advertised), case.letter(data)
    sent = shares_hash(case.context, case.culprit, letter["hashes"]), letter["hashes"]
    require(sent != (body["commitment_hash"], body["backend"]), "the same commitments")


def bad_share(case: Case) -> None:
    data, key = case.shown(2)
    letter, bulk, aggregator = case.letter(data)
    require(aggregator in case.aggregators, "a letter to no aggregator")
    party = list(case.aggregators).index(aggregator)
    require(key_hash(case.session, case.culprit, aggregator, key) == letter["key_hash"], "another key")
    try:
        nonce, share = open_letter(case.config, case.context, letter, bulk, case.culprit, aggregator, party, key)
    except ValueError:
        return
    made = share_hash(case.context, case.culprit, party, commit_vector(case.config, share), nonce)
    require(made != letter["hashes"][32 * party : 32 * (party + 1)], "the share is the one that was advertised")


def bad_shares(case: Case) -> None:
    advertised, opened, commitments = case.shown(3)
    hashes = case.advertisement(advertised)["backend"]
    require(len(hashes) == case.size, "the hashes have a wrong length")
    parts, nonces = opened_shares(opened, commitments, case.config)
    require(len(parts) >= threshold(case.policy), "too few shares")
    for (party, part), nonce in zip(parts.items(), nonces, strict=True):
        made = share_hash(case.context, case.culprit, party, part, nonce)
        require(made == hashes[32 * party : 32 * (party + 1)], "a share is not what was advertised")
    try:
        length = rank(case.config) * N
        shares = {party: decode_elements(part, length, "a commitment") for party, part in parts.items()}
        whole = whole_hash(case.context, case.culprit, encode_elements(combine(shares, case.policy)))
    except ValueError:
        return
    at = 32 * aggregators(case.policy)
    require(whole != hashes[at : at + 32], "the shares combine to what was signed")


def bad_reveal(case: Case) -> None:
    stated, hashes, message = case.shown(3)
    party = case.number
    entries, expected = case.statement(stated)
    nonces, bulk = case.revealed(message, expected)
    size = 4 * rank(case.config) * N
    if (len(nonces), len(bulk)) != (32 * len(entries), size * len(entries)):
        return
    for i, entry in enumerate(entries):
        if entry["value"] == shares_hash(case.context, entry["name"], hashes):
            opened = bulk[size * i : size * (i + 1)], nonces[32 * i : 32 * (i + 1)]
            made = share_hash(case.context, entry["name"], party, *opened)
            if made != hashes[32 * party : 32 * (party + 1)]:
                return
    raise ValueError("what was revealed is what was advertised, or the hashes are no client's")


def bad_partial_sum(case: Case) -> None:
    stated, first, second = case.shown(3)
    require(case.number >= 0, "no aggregator")
    entries, expected = case.statement(stated)
    _, revealed = case.revealed(first, expected)
    header, bulk = case.message(second, "partial-sum", case.session)
    require(decode("PartialSum", header["body"], LIMIT)["root"] == expected, "a sum over another set")
    length = rank(case.config) * N
    require(len(entries) > 0, "a sum of nothing")
    require(len(revealed) == 4 * length * len(entries), "the commitments have a wrong length")
    try:
        committed = decode_elements(revealed, length * len(entries), "the commitments").reshape(-1, length)
        partial = decode_elements(bulk, shared_length(case.config), "a partial sum")
    except ValueError:
        return
    wrong = commit_vector(case.config, partial) != encode_elements(committed.sum(axis=0) % P)
    require(wrong, "the partial sum is right")


def two_sets(case: Case) -> None:
    first, first_signature, other, second, second_signature = case.shown(5)
    require(case.number >= 0, "no aggregator")
    config = decode("RoundConfig", other, 2**20)
    check_limits(config)
    for field in ("task", "round", "policy", "operators"):
        require(config[field] == case.config[field], "two different rounds")
    signed = []
    for context, statement, signature in (
        (case.context, first, first_signature),
        (digest("round-config", other), second, second_signature),
    ):
        entries, leaves = case.statement(statement)
        signed.append(frame("agreement", digest("session", context), u64(len(entries)), leaves))
        check_signature(case.public, signature, signed[-1], "an agreement")
    require(signed[0] != signed[1], "one set twice")


def bad_norm_proof(case: Case) -> None:
    data, listed = case.shown(2)
    check_backend(case.config)
    require(sketched(case.config) != 0, "no norm is bounded")
    encoded, bulk = unpack(data)
    header = decode("Header", encoded, (64 + case.config["cohort_size"]) * 1024 + 147456)
    if is_sparse(case.config):
        session = read_exhibit(case.config, case.context, listed)[0]
    else:
        items = decode("AdvertisementList", listed, LIMIT)["advertisements"]
        leaves = [encode("SignedAdvertisement", item) for item in items]
        session = digest("session", case.context, u64(len(items)), root(leaves))
    require(header["session"] == session and header["phase"] == "masked-input", "a message of another session or phase")
    require(header["sender"] == case.culprit and bulk == b"", "a message of somebody else, or with its bulk")
    texts = (header[name].encode() for name in ("phase", "sender", "recipient"))
    signed = frame("message", session, *texts, header["body"], header["bulk_digest"])
    check_signature(case.public, header["signature"], signed, "a message")
    body = decode("HiddenInput", header["body"], LIMIT)
    part = decode("BoundedInput", body["backend"], LIMIT)
    decode_elements(body["commitment"], rank(case.config) * N, "a commitment")
    bound = norm_bound(case.config, case.config["weight_limit"])
    statement = norm.Statement(case.context, session, case.culprit, body["commitment"], part["sketch"], bound)
    try:
        signed = frame("sketch", session, case.culprit.encode(), part["sketch"], sha(part["proof"]))
        check_signature(case.public, part["signature"], signed, "a sketch")
        require(len(part["sketch"]) == 4 * ((bound.rho + 1) * N + bound.L + bound.e), "a sketch of another length")
        norm.parse_elements(part["sketch"])
        norm.verify(statement, part["proof"])
    except ValueError:
        return
    raise ValueError("the norm's proof is one")


KINDS = {
    "two-advertisements": two_advertisements,
    "bad-norm-proof": bad_norm_proof,
    "two-commitments": two_commitments,
    "bad-share": bad_share,
    "bad-shares": bad_shares,
    "bad-reveal": bad_reveal,
    "bad-partial-sum": bad_partial_sum,
    "two-sets": two_sets,
}


def check_fault_pins(case: Case, pins: dict[str, Any], beacon: bytes | None) -> None:
    """The round is one that the verifier has pinned, and the culprit's key as well."""
    require(case.config["task"] in pins["tasks"], "the task is not pinned")
    roster = read_roster(pins["tasks"][case.config["task"]]["roster"])
    cohort = draw(roster, case.policy["cohort_size"], case.config["beacon"])
    check_pins(case.config, cohort, pins, beacon)
    require(roster_root(cohort) == case.config["cohort_root"], "another cohort than pinned")
    pinned = (cohort.get(case.culprit), read_roster(pins["operators"]).get(case.culprit))
    require(case.public in pinned, "another key than pinned")


def verify_fault(data: bytes, pins: dict[str, Any] | None = None, beacon: bytes | None = None) -> dict[str, Any]:
    """Check a proof of fault: in itself, and with `pins` that round and culprit are those that the verifier knows.

    Returns:
        The fields of the proof.
    """
    case = Case(data)
    if pins is not None:
        check_fault_pins(case, pins, beacon)
    if case.policy["backend"] == "masking" and case.kind not in ("two-advertisements", "bad-norm-proof"):
        check_screening(case)
        return case.proof
    require(case.kind in KINDS, "an unknown kind of fault")
    KINDS[case.kind](case)
    return case.proof
