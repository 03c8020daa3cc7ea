"""Whole rounds of `additive` and `crypten`, made with the independent verifier's own functions: whoever makes one holds
everybody's keys, so that a round can break one rule and be right in all others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import conformance.independent_verifier as spec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

SIZE = 5
FF = b"\xff"


def identity_key(name: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def public(name: str) -> bytes:
    return identity_key(name).public_key().public_bytes_raw()


def channel_key(name: str, channel: bytes | None = None, identity: str | None = None) -> dict[str, Any]:
    """An aggregator's ChannelKey."""
    secret = X25519PrivateKey.from_private_bytes(hashlib.sha256(b"channel" + name.encode()).digest())
    channel = secret.public_key().public_bytes_raw() if channel is None else channel
    signature = identity_key(identity or name).sign(spec.frame("channel-key", name.encode(), channel))
    return {"name": name, "identity": public(identity or name), "channel": channel, "signature": signature}


@cache
def commitment(vector: bytes, split: int, rank: int) -> bytes:
    elements = np.frombuffer(vector, np.int64)
    return spec.commit(elements[:split], elements[split:], rank)


def prg(label: str, length: int) -> np.ndarray:
    return spec.prg(hashlib.sha256(label.encode()).digest(), length)


def nonce(name: str, party: int = 0) -> bytes:
    return hashlib.sha256(f"{name} {party}".encode()).digest()


@dataclass
class Shared:
    """A forged round; each field is something that it does otherwise than an honest one."""

    backend: str = "additive"
    options: dict[str, int] = field(default_factory=dict)
    policy: dict[str, Any] = field(default_factory=dict)
    values: tuple[int, ...] = (100, 101, 102, 103)
    """Of each client: all its coordinates."""
    weight: int = 1
    same: bool = False
    """All clients commit to the same."""
    silent: int = 0
    """How many of the clients only advertise."""
    setup: Callable[[list[dict[str, Any]]], Any] = lambda _: None
    """Alters the list of ChannelKeys."""
    part: Callable[[str, bytes], bytes] = lambda _, part: part
    """Alters the backend's part of an advertisement before the commitment hash is made."""
    hashed: Callable[[str, bytes], bytes] = lambda _, digest: digest
    """Alters a commitment hash before it is signed."""
    share: Callable[[int, np.ndarray], np.ndarray] = lambda _, share: share
    """Alters a share of the first client before it is committed to."""
    whole: Callable[[str, bytes], bytes] = lambda _, made: made
    """Alters a client's commitment before it is hashed."""
    committed: Callable[[int, bytes], bytes] = lambda _, made: made
    """Alters the commitment of a share of the first client before it is hashed."""
    parties: Callable[[str], list[int]] | None = None
    """Whose commitments are opened for a client; by default everybody's."""
    result: Callable[[np.ndarray], Any] = lambda _: None
    """Alters X ‖ T."""
    signers: Callable[[list[str]], list[str]] = lambda names: names
    attesters: Callable[[list[str]], list[str]] = lambda names: names
    fields: Callable[[dict[str, Any]], Any] = lambda _: None
    """Alters the evidence's header."""

    def __str__(self) -> str:
        changed = {name: value for name, value in vars(self).items() if value not in ((), {}, False, 0)}
        return ascii({name: value for name, value in changed.items() if not callable(value)})[:80]

    @property
    def option(self) -> dict[str, int]:
        if self.backend == "additive":
            return {"aggregators": 3, **self.options}
        return {"aggregators": 3, "function": 0, **self.options}

    def config(self, setup: bytes) -> dict[str, Any]:
        cohort = {name: public(name) for name in self.names}
        policy: dict[str, Any] = {
            "backend": self.backend,
            "options": [{"name": name, "value": value} for name, value in sorted(self.option.items())],
            "clip": 1.0,
            "bits": 8,
            "commit_packed": self.backend == "additive",
            "max_error": 1e60,
            "max_weight": 1,
            "weight_scale": 0,
            "weight_span": 0,
            "first_weight": 0,
            "cohort_size": 0,
            "max_clients": len(cohort),
            "min_clients": 2,
            "min_advertised": 3,
            "max_corrupt": 0,
            "max_parameters": 100,
        } | self.policy
        return {
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
            "shapes": [[SIZE]],
            "cohort_size": len(cohort),
            "cohort_root": spec.roster_root(cohort),
            "beacon": b"",
            "operators": spec.roster_digest({name: public(name) for name in self.operators}),
            "log_key": b"",
            "witnesses": spec.roster_digest({}),
            "setup": spec.digest("setup", setup),
        }

    @property
    def names(self) -> list[str]:
        return [f"c{i}" for i in range(len(self.values))]

    @property
    def aggregators(self) -> list[str]:
        return [f"a{i:02}" for i in range(self.option["aggregators"])]

    @property
    def operators(self) -> list[str]:
        """Those that everybody has pinned."""
        return [*self.aggregators, "coordinator"]

    def trust(self) -> dict[str, Any]:
        """What a verifier has pinned, as in a trust file."""
        policy = self.config(b"")["policy"]
        options = {option["name"]: option["value"] for option in policy["options"]}
        return {
            "format": "secure-agg-trust/2",
            "log": None,
            "operators": {name: public(name).hex() for name in sorted(self.operators)},
            "witnesses": {},
            "tasks": {
                "task": {
                    "policy": policy | {"options": options},
                    "roster": {name: public(name).hex() for name in self.names},
                    "claims": ["attested" if spec.attested(policy) else "sum"],
                }
            },
        }

    def _shares(self, name: str, vector: np.ndarray, policy: dict[str, Any]) -> list[np.ndarray]:
        k, t = spec.aggregators(policy), spec.threshold(policy)
        random = [prg(f"{name} {i}", len(vector)) for i in range(1, k)]
        if t == k:
            return [*random, (vector - sum(random)) % spec.P]
        shares = []
        for a in range(1, k + 1):
            share = vector.copy()
            for j, coefficient in enumerate(random[: t - 1], 1):
                share = (share + coefficient * pow(a, j, spec.P)) % spec.P
            shares.append(share)
        return shares

    def evidence(self) -> bytes:
        members = [channel_key(name) for name in self.aggregators]
        self.setup(members)
        setup = spec.encode("AggregatorSet", {"members": members})
        config = self.config(setup)
        encoded, policy = spec.encode("RoundConfig", config), config["policy"]
        context = spec.digest("round-config", encoded)
        session = spec.digest("session", context)
        rank, limbs = spec.rank(config), spec.limbs(policy)
        split, length = SIZE + limbs, SIZE + limbs + (rank + 2) * spec.N
        advertisements: list[dict[str, Any]] = []
        openings: list[dict[str, Any]] = []
        entries: list[bytes] = []
        vectors = []
        for i, name in enumerate(self.names):
            seed = hashlib.sha256(b"same" if self.same else name.encode()).digest()
            s = spec.words(seed, 0, (rank + 2) * spec.N).astype(np.int64) % 2 ** spec.mask_bits(policy)
            weight = [self.weight >> ((policy["bits"] - 1) * limb) for limb in range(limbs)]
            vector = np.array([*[self.values[i]] * SIZE, *weight, *s.tolist()], np.int64)
            packed = np.concatenate([spec.pack(vector[:split], policy), vector[split:]])
            elements = len(packed) - (rank + 2) * spec.N
            if self.backend == "additive":
                first = i == 0
                shares = self._shares(name, packed, policy)
                made = []
                for a, share in enumerate(shares):
                    altered = self.share(a, share.copy()) if first else share
                    part = commitment(altered.tobytes(), elements, rank)
                    made.append(self.committed(a, part) if first else part)
                hashes = [spec.share_hash(context, name, a, part, nonce(name, a)) for a, part in enumerate(made)]
                whole = self.whole(name, commitment(packed.tobytes(), elements, rank))
                part = self.part(name, b"".join([*hashes, spec.whole_hash(context, name, whole)]))
                hashed = self.hashed(name, spec.shares_hash(context, name, part))
                parties = self.parties(name) if self.parties else list(range(len(shares)))
                shown = {"parties": parties, "nonces": b"".join(nonce(name, a) for a in parties)}
                opened = spec.encode("OpenedShares", shown)
                made_all = b"".join(made[a] for a in parties if a < len(made))
            else:
                part, opened = self.part(name, b""), nonce(name)
                made_all = commitment(packed.tobytes(), elements, rank)
                place = [config["task"].encode(), spec.u64(0), spec.u64(0), name.encode()]
                hashed = self.hashed(name, spec.digest("commitment-hash", *place, made_all, opened))
            body = spec.encode("Advertisement", {"commitment_hash": hashed, "backend": part})
            signed = spec.frame("message", context, b"advertise", name.encode(), b"", body, b"")
            advertisements.append({"name": name, "body": body, "signature": identity_key(name).sign(signed)})
            if i < len(self.names) - self.silent:
                openings.append({"name": name, "commitment": made_all, "nonce": opened})
                entries.append(spec.frame("survivor", name.encode(), hashed))
                vectors.append(vector)
        sums = self._sums(policy, vectors, length)
        self.result(sums)
        bulk = (sums % 2**32).astype("<u4").tobytes()
        entries_root = spec.root(entries)
        agreed = spec.frame("agreement", session, spec.u64(len(entries)), entries_root)
        attested = spec.frame("attested", session, entries_root, spec.sha(bulk))
        try:
            means, *_ = spec.decode_sum(sums[:split], spec.kept(policy, len(vectors)), config)
            model = spec.model_digest(config["shapes"], means)
        except (ValueError, ZeroDivisionError):
            model = bytes(32)

        def sign(names: list[str], message: bytes) -> list[dict[str, Any]]:
            return [{"name": name, "signature": identity_key(name).sign(message)} for name in names]

        aggregators = [member["name"] for member in members]
        fields = {
            "version": 2,
            "config": encoded,
            "cohort": [{"name": name, "public": public(name)} for name in self.names],
            "advertisements": advertisements,
            "openings": openings,
            "agreement": sign(self.signers(aggregators), agreed),
            "setup": setup,
            "attestation": sign(self.attesters(aggregators), attested) if spec.attested(policy) else [],
            "result_model": model,
        }
        self.fields(fields)
        header = spec.encode("Evidence", fields)
        return len(header).to_bytes(4, "little") + header + bulk

    def _sums(self, policy: dict[str, Any], vectors: list[np.ndarray], length: int) -> np.ndarray:
        if not spec.attested(policy):
            return np.asarray(sum(vectors), np.int64)
        ordered = np.sort(np.array(vectors)[:, :SIZE], axis=0)
        n = len(vectors)
        cut = spec.option(policy, "trim", 0) if spec.option(policy, "function", 0) == 1 else (n - 1) // 2
        sums = np.zeros(length, np.int64)
        sums[:SIZE] = ordered[cut : n - cut].sum(axis=0)
        sums[SIZE] = max(n - 2 * cut, 0)
        return sums
