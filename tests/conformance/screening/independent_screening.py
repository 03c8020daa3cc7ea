"""A second implementation of section 7's screening and its proofs of fault, written from docs/specification.md alone.

It goes with `independent_faults`, whose `Case` each check is given. Section numbers are those of the specification.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from math import comb, inf, log2
from typing import Any

import numpy as np
from conformance.independent_verifier import (
    RECORDS,
    N,
    P,
    check_exchange_key,
    check_order,
    check_ranges,
    check_roster,
    commit,
    covered,
    decode,
    decode_elements,
    digest,
    elements,
    encode,
    encode_elements,
    half,
    kdf,
    mask_bits,
    matrix_key,
    norm,
    norm_bound,
    option,
    points,
    prg,
    quorum,
    rank,
    rebuild_secret,
    require,
    residues,
    root,
    roster_root,
    several,
    sketched,
    u64,
    unpack,
    values,
)
from conformance.sparse.independent_sparse import is_sparse, read_exhibit, read_shown
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

RECORDS |= {
    "AdvertisementList": {"advertisements": ["SignedAdvertisement"], "backend": "bin"},
    "HiddenInput": {"commitment": "bin", "nonce": "bin32", "backend": "bin"},
    "BoundedInput": {"sketch": "bin", "proof": "bin", "signature": "bin", "backend": "bin"},
    "MaskedPart": {"seed_hash": "bin32", "active": ["int"]},
    "Edge": {"peer": "int", "confirmation": "bin", "sealed": "bin", "mask_hash": "bin", "seed_hash": "bin"},
    "KeyShares": {"edges": ["Edge"], "own_hash": "bin"},
    "ScreenedInput": {"client": "int", "value": "bin"},
    "Screening": {"inputs": ["ScreenedInput"]},
    "Report": {"root": "bin", "seed_hash": "bin", "peers": ["int"], "values": "bin"},
    "Agreed": {"signatures": ["Signature"], "backend": "bin"},
    "ShownInput": {"client": "int", "commitment": "bin", "vector": "bin", "sketch": "bin", "proof": "bin"},
    "FailedSum": {"inputs": ["ShownInput"], "total": "bin"},
    "Charge": {"kind": "str", "culprit": "int", "exhibits": ["bin"]},
    "Charges": {"items": ["Charge"]},
    "Cohort": {"members": ["CohortMember"]},
    "DealtShares": {"holders": ["int"], "shares": "bin"},
}

LIMIT = 1 << 34


class OfSketches(bytes):
    """The root of a report of phase screen-sketches; that of phase screen is plain bytes."""


def weighted_blocks(rows: np.ndarray, k: int, count: int) -> np.ndarray:
    """What five functionals multiply the coordinates of `count` blocks by: shape (5, 512 · count)."""
    zeta, key, found = points(), matrix_key(k), []
    powers = np.ones((N, N), np.int64)
    for i in range(1, N):
        powers[i] = powers[i - 1] * zeta % P
    matrix = np.zeros((k, N, 16), np.int64)
    for j in range(count):
        if j % 16 == 0:
            matrix = residues(key, j // 16, k * N * 16).reshape(k, N, 16)
        at_points = (rows * matrix[:, :, j % 16] % P).sum(axis=1) % P  # (5, 512)
        block = [[int((powers[i] * row % P).sum() % P) for i in range(N)] for row in at_points]
        found.append(np.array(block, np.int64))
    return np.concatenate(found, axis=1)


class Masks:
    """A session of `masking`, and the functionals that follow from a root."""

    def __init__(self, case: Any, listed: bytes) -> None:
        self.case, self.config = case, case.config
        self.keys: list[bytes | None]
        require(option(case.policy, "screening", 0) in (1, 2), "nothing is screened in this round")
        require(case.proof["setup"] == b"", "a setup that nobody needs")
        self.sparse = is_sparse(self.config)
        if self.sparse:
            self.sid, self.names, self.cohort, self.roll, shown = read_exhibit(self.config, case.context, listed)
            self.keys = [None] * len(self.names)
            self.know({name: part["backend"] for name, part in shown.items()})
            return
        items = decode("AdvertisementList", listed, (64 + self.config["cohort_size"]) * 1024)["advertisements"]
        self.names = [item["name"] for item in items]
        check_order(self.names, "advertisements")
        require(len(items) <= self.config["cohort_size"], "more clients than the cohort has")
        leaves = [encode("SignedAdvertisement", item) for item in items]
        self.sid = digest("session", case.context, u64(len(items)), root(leaves))
        self.keys = [None] * len(items)
        self.know({item["name"]: decode("Advertisement", item["body"], 1024)["backend"] for item in items})

    def know(self, parts: dict[str, bytes]) -> None:
        """Mask keys that were advertised."""
        for name, part in parts.items():
            require(len(part) == 64 and part[:32] != part[32:], "no two keys")
            check_exchange_key(part[:32])
            check_exchange_key(part[32:])
            self.keys[self.names.index(name)] = part[32:]

    @property
    def own_key(self) -> bytes:
        found = self.keys[self.me]
        require(found is not None, "the culprit's key is not shown")
        return found or b""

    @property
    def me(self) -> int:
        require(self.case.culprit in self.names, "the culprit did not advertise")
        return self.names.index(self.case.culprit)

    def name(self, i: int) -> bytes:
        return self.names[i].encode()

    def message(self, data: bytes, phase: str) -> tuple[dict[str, Any], bytes]:
        header, bulk = self.case.message(data, phase, self.sid)
        return header, bulk

    def report(self, data: bytes) -> tuple[bytes, bytes, list[np.ndarray], list[int]] | None:
        """Root, seed hash, values (the self mask's first) and peers; None for what is no report."""
        phase = decode("Header", unpack(data)[0], LIMIT)["phase"]
        require(phase == "screen" or (phase == "screen-sketches" and self.tests_sketches), "another phase")
        header, _ = self.message(data, phase)
        try:
            said = decode("Report", header["body"], LIMIT)
            peers = said["peers"]
            require(peers == sorted(set(peers)) and self.me not in peers, "peers are not in order")
            require(all(peer < len(self.names) for peer in peers), "a peer is unknown")
            require((len(said["root"]), len(said["seed_hash"])) == (32, 32), "no digests")
            values = decode_elements(said["values"], 5 * (1 + len(peers)), "the values").reshape(-1, 5)
        except ValueError:
            return None
        listed = OfSketches(said["root"]) if phase == "screen-sketches" else said["root"]
        return listed, said["seed_hash"], list(values), peers

    @property
    def bound(self) -> norm.Bound | None:
        """What section 16 proves of every vector; None where nothing is."""
        return norm_bound(self.config, self.config["weight_limit"]) if sketched(self.config) else None

    @property
    def tests_sketches(self) -> bool:
        """Whether sketches are linear over what is hidden: each value is an element of it."""
        return option(self.case.policy, "screening", 0) == 1 and self.linear

    @property
    def at_once(self) -> bool:
        """Whether t_1 is tested with the rest."""
        return option(self.case.policy, "screening", 0) == 2

    @property
    def linear(self) -> bool:
        return self.bound is not None and not several(self.case.config)

    def of_t_1(self, listed: bytes, e: Sequence[int], noise: Sequence[int]) -> np.ndarray:
        """Section 7's five values of t_1, of any residues e and s'."""
        bound = self.bound
        v = norm.sketch(norm.sketch_key(self.sid), e)
        made = norm.commit_sketch(bound, [value % P for value in v], [0] * (bound.L + bound.e), noise)
        return self.dot_t_1(listed, made)

    def dot_t_1(self, listed: bytes, sketch: Sequence[int]) -> np.ndarray:
        """Of the elements of C'."""
        key = digest("screening-sketches", self.sid, listed)
        rows = np.array([residues(key, e, N) for e in range(5)], np.int64)
        part = np.array(sketch[self.bound.rho * N : (self.bound.rho + 1) * N], np.int64)
        return np.array([int((row * part % P).sum() % P) for row in rows])

    @property
    def sketched_values(self) -> int:
        """How many values section 16 sketches."""
        return covered(self.config)

    def public(self, listed: bytes, committed: np.ndarray, sketch: Sequence[int] | None) -> np.ndarray:
        """The five values that what a client has committed to has to have."""
        found = np.zeros(5, np.int64)
        if isinstance(listed, OfSketches) or self.at_once:
            centre = [half(self.case.policy)] * self.sketched_values
            found += self.dot_t_1(listed, sketch) + self.of_t_1(listed, centre, [0] * self.bound.J * N)
        if isinstance(listed, OfSketches):
            return found
        found += np.array([int((row * committed % P).sum() % P) for row in self.rows(listed)])
        return found if sketch is None else found + self.of_sketch(listed, sketch)

    def whole_rows(self, listed: bytes) -> np.ndarray:
        length = rank(self.config) * N + (self.bound.rho * N + self.side if self.bound else 0)
        key = digest("screening", self.sid, listed)
        return np.array([residues(key, e, length) for e in range(5)])

    def rows(self, listed: bytes) -> np.ndarray:
        k = rank(self.config)
        return self.whole_rows(listed)[:, : k * N].reshape(5, k, N)

    @property
    def side(self) -> int:
        """Coordinates of t_2 that are tested: those of x where each is an element."""
        return self.bound.L + self.bound.e if self.bound and not several(self.case.config) else 0

    def of_sketch(self, listed: bytes, elements: Sequence[int]) -> np.ndarray:
        """What is added for t_0 ‖ t_1 ‖ t_2."""
        rho = self.bound.rho * N
        tested = np.array([*elements[:rho], *elements[rho + N : rho + N + self.side]], np.int64)
        rows = self.whole_rows(listed)[:, rank(self.config) * N :].astype(np.int64)
        return np.array([int((row * tested % P).sum() % P) for row in rows])

    def of_vector(self, listed: bytes, vector: np.ndarray) -> list[int]:
        """Section 7's five values of the elements of a vector, s included."""
        k, split, bound, more = rank(self.config), elements(self.config), self.bound, np.zeros(5, np.int64)
        rows = np.zeros(5, np.int64)
        if isinstance(listed, OfSketches) or self.at_once:
            inside, noise = vector[: self.sketched_values], vector[-self.bound.J * N :]
            rows = self.of_t_1(listed, inside.tolist(), noise.tolist())
        if isinstance(listed, OfSketches):
            return [int(value) for value in rows]
        if bound:
            vector, noise = vector[: -bound.J * N], vector[-bound.J * N :].tolist()
            first = values(self.config)
            side = vector[first : first + bound.L + bound.e].tolist() if self.side else [0] * (bound.L + bound.e)
            more = self.of_sketch(listed, norm.commit_sketch(bound, [0] * N, side, noise))
        padded = np.concatenate([vector[:split], np.zeros(-split % N, np.int64), vector[split:]])
        weights = weighted_blocks(self.rows(listed), k, len(padded) // N)
        found = np.array([int((row * padded % P).sum() % P) for row in weights])
        return [int(value) for value in (found + more + rows) % P]

    @property
    def length(self) -> int:
        return elements(self.config) + (rank(self.config) + 2) * N + sketched(self.config)

    def of_mask(self, listed: bytes, key: bytes) -> list[int]:
        return self.of_vector(listed, prg(key, self.length).astype(np.int64))

    def agreement(self, secret: bytes, public: bytes) -> tuple[bytes, bytes]:
        """The agreement of a secret with a public key, and the secret's own."""
        private = X25519PrivateKey.from_private_bytes(secret)
        own = private.public_key().public_bytes_raw()
        raw = private.exchange(X25519PublicKey.from_public_bytes(public))
        return kdf(raw, "key-agreement", *sorted((own, public))), own

    def pair_mask(self, agreed: bytes, peer: int) -> bytes:
        return kdf(agreed, "pairwise-mask", self.sid, *sorted((self.name(self.me), self.name(peer))))

    def seed_hash(self, seed: bytes) -> bytes:
        return digest("self-mask-seed", self.sid, self.name(self.me), seed)

    @property
    def threshold(self) -> int:
        """Shares that rebuild a secret."""
        policy, n = self.case.policy, len(self.names)
        if self.config["cohort_size"] > option(policy, "complete_up_to", 128):
            found = sparse(n, policy["max_corrupt"])
            if found is not None:
                return found
        return quorum(self.config["cohort_size"], policy)

    def rebuilt(self, dealt: bytes, shown: bytes, kind: bytes) -> bytes | None:
        header, _ = self.message(dealt, "share-keys")
        said, field = decode("KeyShares", header["body"], LIMIT), "mask_hash" if kind == b"mask-key" else "seed_hash"
        hashes = {edge["peer"]: edge[field] for edge in said["edges"]}
        if kind == b"self-seed" and said["own_hash"]:
            hashes[self.me] = said["own_hash"]
        fields = decode("DealtShares", shown, LIMIT)
        holders, shares = fields["holders"], fields["shares"]
        require(holders == sorted(set(holders)), "holders are not in order")
        require(all(0 <= holder < len(self.names) for holder in holders), "a holder is no participant")
        require(len(holders) == self.threshold and len(shares) == 36 * len(holders), "another number of shares")
        parts = {holder: shares[36 * i : 36 * (i + 1)] for i, holder in enumerate(holders)}
        for holder, share in parts.items():
            require(holder in hashes, "a share of somebody who has none")
            made = digest("share", self.sid, kind, self.name(self.me), self.name(holder), share)
            require(made == hashes[holder], "a share is not the one that was dealt")
        try:
            return rebuild_secret(parts)
        except ValueError:
            return None


def tail(population: int, marked: int, drawn: int, least: int) -> float:
    """log2 P[at least `least` marked among `drawn`]."""
    ways = sum(comb(marked, i) * comb(population - marked, drawn - i) for i in range(max(least, 0), drawn + 1))
    return log2(ways) - log2(comb(population, drawn)) if ways else -inf


def sparse(n: int, corrupt: int) -> int | None:
    """The threshold of a sparse graph; None where the graph is complete."""
    silent, honest = max(1, n // 10), n - corrupt
    for k in range(1, n - 1):
        fits = [
            t
            for t in range(1, k + 1)
            if 1 + log2(n) + tail(n - 1, corrupt, k, t) <= -40 and log2(n) + tail(n - 1, silent, k, k - t + 1) <= -20
        ]
        for t in fits[:1] + fits[-1:]:
            terms = []
            for s in range(1, honest // 2 + 1):
                # few neighbours among the others of h: at least t of those who are none of them
                left = tail(n - 1, n - 1 - (honest - s), k, t) * s
                right = tail(n - 1, n - 1 - s, k, t) * (honest - s)
                terms.append(log2(comb(honest, s)) + left + right)
            highest = max(terms)
            if highest > -inf and highest + log2(sum(2.0 ** max(term - highest, -1000) for term in terms)) <= -40:
                return t
    return None


# ---------------------------------------------------------------------------------------------- The kinds


def bad_input(masks: Masks, sent: bytes, reported: bytes) -> None:
    said = masks.report(reported)
    header, bulk = masks.message(sent, "masked-input")
    if said is None:
        return
    listed, hashed, (own, *others), peers = said
    try:
        body = decode("HiddenInput", header["body"], LIMIT)
        backend, sketch = body["backend"], None
        if masks.bound:
            bounded = decode("BoundedInput", backend, LIMIT)
            size = (masks.bound.rho + 1) * N + masks.bound.L + masks.bound.e
            backend, sketch = bounded["backend"], decode_elements(bounded["sketch"], size, "a sketch")
        part = decode("MaskedPart", backend, LIMIT)
        vector = decode_elements(bulk, masks.length, "a masked vector")
        committed = decode_elements(body["commitment"], rank(masks.config) * N, "a commitment").reshape(-1, N)
    except ValueError:
        return
    if (part["seed_hash"], part["active"]) != (hashed, peers):
        return
    total = masks.public(listed, committed, None if sketch is None else sketch.tolist()) + own
    for peer, value in zip(peers, others, strict=True):
        total = total + (value if masks.me < peer else -value)
    require((total % P).tolist() != masks.of_vector(listed, vector), "its numbers explain its input")


def bad_edge(masks: Masks, reported: bytes, dealt: bytes, peer: bytes, secret: bytes) -> None:
    said = masks.report(reported)
    require(peer in [name.encode() for name in masks.names], "the peer did not advertise")
    other = [name.encode() for name in masks.names].index(peer)
    header, _ = masks.message(dealt, "share-keys")
    edges = decode("KeyShares", header["body"], LIMIT)["edges"]
    shown = [edge["confirmation"] for edge in edges if edge["peer"] == other]
    require(len(secret) >= 32, "the secret is too short")
    made = kdf(secret, "key-confirmation", masks.sid, masks.name(masks.me), peer)[:16]
    require(shown[:1] == [made], "another secret than was confirmed")
    if said is None:
        return
    listed, _, (_, *others), peers = said
    require(other in peers, "it said nothing of this mask")
    found = masks.of_mask(listed, masks.pair_mask(secret, other))
    require(others[peers.index(other)].tolist() != found, "its number is right")


def bad_self_mask(masks: Masks, reported: bytes, seed: bytes) -> None:
    said = masks.report(reported)
    require(len(seed) >= 32, "the seed is too short")
    if said is None:
        return
    listed, hashed, (own, *_), _ = said
    require(masks.seed_hash(seed) == hashed, "another seed than was announced")
    found = masks.of_mask(listed, kdf(seed, "self-mask", masks.sid, masks.name(masks.me)))
    require(own.tolist() != found, "its number is right")


def bad_lost_edge(masks: Masks, reported: bytes, secret: bytes) -> None:
    said = masks.report(reported)
    require(len(secret) == 32, "the secret has a wrong length")
    require(secret[0] & 7 == 0 and secret[31] & 0xC0 == 0x40, "the secret is not in its one spelling")
    agreed, own = masks.agreement(secret, masks.own_key)
    require(own in masks.keys, "a secret of nobody's key")
    peer = masks.keys.index(own)
    if said is None:
        return
    listed, _, (_, *others), peers = said
    require(peer in peers, "it said nothing of this mask")
    found = masks.of_mask(listed, masks.pair_mask(agreed, peer))
    require(others[peers.index(peer)].tolist() != found, "its number is right")


def bad_seed_shares(masks: Masks, dealt: bytes, shown: bytes, reported: bytes) -> None:
    seed, said = masks.rebuilt(dealt, shown, b"self-seed"), masks.report(reported)
    right = seed is not None and said is not None and masks.seed_hash(seed) == said[1]
    require(not right, "the shares rebuild the seed")


def bad_key_shares(masks: Masks, dealt: bytes, shown: bytes) -> None:
    secret = masks.rebuilt(dealt, shown, b"mask-key")
    if secret is not None:
        public = X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
        require(public != masks.own_key, "the shares rebuild the key")


def shown(masks: Masks, data: bytes, phase: str) -> bytes:
    """What an aggregator has shown in a phase, without a set's signatures."""
    require(masks.case.culprit not in masks.names, "a client shows nothing")
    body = masks.message(data, phase)[0]["body"]
    if phase == "screen":
        return body
    if not masks.sparse:
        return decode("Agreed", body, LIMIT)["backend"]
    part = decode("Countersigned", body, LIMIT)["backend"]
    return decode("SmallerSet", part, LIMIT)["backend"] if phase.startswith("excise") else part


def two_screenings(masks: Masks, first: bytes, second: bytes) -> None:
    phase = decode("Header", unpack(first)[0], LIMIT)["phase"]
    require(phase == "screen" or (phase == "screen-sketches" and masks.tests_sketches), "another phase")
    bodies = [shown(masks, data, phase) for data in (first, second)]
    for body in bodies:
        decode("Screening" if phase == "screen" else "FailedSum", body, LIMIT)
    require(bodies[0] != bodies[1], "one list twice")


def has_failed(masks: Masks, listed: dict[int, bytes], claim: bytes) -> None:
    """Section 7's check of a sum that is said to have failed."""
    fields, config, policy, bound = decode("FailedSum", claim, LIMIT), masks.config, masks.case.policy, masks.bound
    items, k = fields["inputs"], rank(masks.config)
    clients, n = [item["client"] for item in items], len(items)
    require(n > 0 and clients == sorted(set(clients)), "clients are not in order")
    require(n <= policy["max_clients"], "too many clients")
    hashes, sketches = np.zeros(k * N, np.int64), np.zeros((bound.rho + 1) * N + bound.L + bound.e, np.int64)
    for item in items:
        sketched_as = digest("screened-sketch", item["sketch"], item["proof"])
        value = digest("screened-input", item["commitment"], item["vector"], sketched_as)
        require(listed.get(item["client"]) == value, "another input than was accepted")
        hashes += decode_elements(item["commitment"], k * N, "a commitment")
        sketches += decode_elements(item["sketch"], len(sketches), "a sketch")
    total = decode_elements(fields["total"], masks.length, "a sum")
    x, t, noise = np.split(total, [elements(config), elements(config) + (k + 2) * N])
    check_ranges(x, n, config)
    require(int(t.max()) <= n * (2 ** mask_bits(policy) - 1), "T is out of range")
    require(int(noise.max()) <= 3 * n, "T' is out of range")
    require(commit(x, t, k) == encode_elements(hashes % P), "the sum is another")
    e = x[: masks.sketched_values] - n * half(policy)
    v = norm.sketch(norm.sketch_key(masks.sid), e.tolist())
    made = norm.commit_sketch(bound, [value % P for value in v], [0] * (bound.L + bound.e), noise.tolist())
    split, end = bound.rho * N, (bound.rho + 1) * N
    require(made[:split] == (sketches % P).tolist()[:split], "T' is another")
    require(made[split:end] != (sketches % P).tolist()[split:end], "the sum's sketch is right")


def false_claim(masks: Masks, first: bytes, second: bytes) -> None:
    require(masks.tests_sketches, "no sketches are tested")
    inputs = decode("Screening", shown(masks, first, "screen"), LIMIT)["inputs"]
    claim = shown(masks, second, "screen-sketches")
    try:
        has_failed(masks, {item["client"]: item["value"] for item in inputs}, claim)
    except ValueError:
        return
    raise ValueError("the sum has failed")


def false_charge(masks: Masks, cohort: bytes, request: bytes) -> None:
    case = masks.case
    members = {item["name"]: item["public"] for item in decode("Cohort", cohort, LIMIT)["members"]}
    require(
        encode("Cohort", {"members": [{"name": k, "public": v} for k, v in members.items()]}) == cohort, "an id twice"
    )
    check_order(members, "the cohort")
    require(roster_root(check_roster(list(members.items()))) == masks.config["cohort_root"], "another cohort")
    require(len(members) == masks.config["cohort_size"], "another cohort")
    require(set(masks.names) <= set(members), "somebody who advertised is not in the cohort")
    phase = decode("Header", unpack(request)[0], LIMIT)["phase"]
    kinds = ["excise", *(["excise-sketches"] if masks.tests_sketches else [])]
    named = [f"{kind}-{i}" for kind in kinds for i in range(1, case.policy["max_corrupt"] + 1)]
    require(phase in named, "nobody is charged in this phase")
    charges = shown(masks, request, phase)
    try:
        items, parts = decode("ShownCharges" if masks.sparse else "Charges", charges, LIMIT), {}
        if masks.sparse:
            found = read_shown(case.context, masks.cohort, masks.roll, items["shown"])
            parts = {name: part["backend"] for name, part in found.items()}
        for item in items["items"]:
            accused, name = copy(case), masks.names[item["culprit"]]
            accused.kind, accused.culprit, accused.public = item["kind"], name, members[name]
            count, checker = CLIENTS[item["kind"]]
            require(len(item["exhibits"]) == count, "another number of exhibits")
            theirs = Masks(accused, case.exhibits[0])
            if masks.sparse:
                theirs.keys = [None] * len(theirs.names)
                theirs.know(parts)
            checker(theirs, *item["exhibits"])
    except (ValueError, KeyError, IndexError):
        return
    raise ValueError("every charge is proved")


CLIENTS: dict[str, tuple[int, Callable[..., None]]] = {
    "bad-input": (2, bad_input),
    "bad-edge": (4, bad_edge),
    "bad-self-mask": (2, bad_self_mask),
    "bad-lost-edge": (2, bad_lost_edge),
    "bad-seed-shares": (3, bad_seed_shares),
    "bad-key-shares": (2, bad_key_shares),
}
CHECKS = CLIENTS | {
    "two-screenings": (2, two_screenings),
    "false-claim": (2, false_claim),
    "false-charge": (2, false_charge),
}


def check(case: Any) -> None:
    """Of a case in backend `masking`, but for the kinds that all backends have."""
    require(case.kind in CHECKS, "this backend has no such fault")
    count, checker = CHECKS[case.kind]
    require(len(case.exhibits) == count + 1, "another number of exhibits")
    masks = Masks(case, case.exhibits[0])
    if case.kind in CLIENTS:
        require(masks.me >= 0, "no client")
    checker(masks, *case.exhibits[1:])
