"""The kernels: encode, commit, check, decode, mask, share and rebuild secrets."""

from __future__ import annotations

import functools
from typing import Final

import numpy as np

from benchmarks import limits
from benchmarks.federation import Federation, Options, degree_note, update
from benchmarks.limits import Limits
from benchmarks.results import Row, Target
from benchmarks.timing import Samples, interleaved
from mpc import masks, shamir
from mpc.keystream import KEY_BYTES, KeyStream
from mpc.masks import Mask
from secure_agg.backends.packed import carrier
from secure_agg.protocol.codec import FixedPoint
from zk import aggregate, commitment, parameters
from zk.aggregate import AggregateStatement
from zk.commitment import Commitment

SHAMIR_CLIENTS: Final = 100
SHAMIR_THRESHOLD: Final = 67
_MILLION: Final = 1_000_000


def _key(number: int) -> bytes:
    return number.to_bytes(KEY_BYTES, "little")


class _Kernels:
    """The operands; each method is one repetition."""

    def __init__(self, options: Options) -> None:
        federation = Federation.of(options.clients, options.params, options.bits)
        config = federation.config
        self.update = update(options.params)
        self.rank = config.commitment.rank
        self._clients, self._shapes = options.clients, config.shapes
        self._codec = FixedPoint(config.policy)
        self._values = np.empty(config.layout.committed, dtype=np.uint32)
        self._randomness = np.empty(config.layout.randomness, dtype=np.uint32)
        self._masked = carrier(config).zero()
        self._masks = [Mask(_key(i), 1 if i % 2 else -1) for i in range(1 + options.neighbours)]
        KeyStream(_key(0)).bounded(0, parameters.noise_bits(options.bits, options.clients), self._randomness)
        self.encode()
        # All clients have the same vector: the sums are n times it, and the check costs the same.
        n = np.uint32(options.clients)
        self._statement = AggregateStatement(
            config.commitment,
            config.policy.top,
            (self.commit(),) * options.clients,
            self._values * n,
            self._randomness * n,
        )

    def encode(self) -> None:
        self._codec.encode([self.update], 1, _key(0), self._values)

    def commit(self) -> Commitment:
        return commitment.commit(self._values, self._randomness, self.rank)

    def check(self) -> None:
        aggregate.check(self._statement)

    def decode(self) -> None:
        self._codec.decode(self._statement.sums, self._clients, self._shapes)

    def mask(self) -> None:
        masks.apply(self._masked, self._masks)

    def commitment_bytes(self) -> int:
        return len(self._statement.commitments[0].to_bytes())


def _share_and_rebuild() -> None:
    """Every client's two secrets shared among all, and every client's second one rebuilt."""
    points = list(range(1, SHAMIR_CLIENTS + 1))
    secrets = [_key(1), _key(2)]
    dealt = [shamir.split(secrets, SHAMIR_THRESHOLD, points, KeyStream(_key(i))) for i in range(SHAMIR_CLIENTS)]
    seeds = np.stack([shares[:SHAMIR_THRESHOLD, 1] for shares in dealt], axis=1)
    shamir.combine(points[:SHAMIR_THRESHOLD], seeds)


def rows(options: Options) -> list[Row]:
    """The machine's limits and the kernels, all in turn."""
    kernels = _Kernels(options)
    machine = Limits(kernels.update)
    samples = interleaved(
        {
            "copy": machine.copy,
            "encode": kernels.encode,
            "sha256": machine.sha256,
            "commit": kernels.commit,
            "check": kernels.check,
            "decode": kernels.decode,
            "keystream": machine.keystream,
            "keystream_all_cores": machine.keystream_all_cores,
            "add": machine.add,
            "masking": functools.partial(machine.masking, options.neighbours),
            "mask": kernels.mask,
            "shamir": _share_and_rebuild,
        },
        options.repeat,
    )
    return [*limits.rows(samples, options.params), *_rows(options, samples, kernels)]


def _rows(options: Options, samples: dict[str, Samples], kernels: _Kernels) -> list[Row]:
    millions = options.params / _MILLION

    def row(key: str, name: str, peer: str, limit: float | None, ratio: float | None, note: str = "") -> Row:
        """``limit`` is in milliseconds per million parameters."""
        targets = [Target("median", limit * millions)] if limit is not None else []
        targets += [Target("ratio", ratio)] if ratio is not None else []
        return Row.timed(
            f"kernel.{key}",
            name,
            samples[key],
            derived=1e9 * samples[key].median / options.params,
            derived_unit="ns/param",
            peer=(_PEERS[peer], samples[peer]),
            targets=tuple(targets),
            note=note,
        )

    headroom = f"rank {kernels.rank}, headroom for {options.clients} clients"
    k = options.neighbours
    return [
        row("encode", f"encode at {options.bits} bits", "copy", 6.0, None),
        row("commit", "commit", "sha256", 20.0, 5.0, headroom),
        Row(key="kernel.commitment", name="a commitment's size", unit="bytes", median=kernels.commitment_bytes()),
        row("check", "check of the aggregate", "sha256", 20.0, None, f"{options.clients} commitments, no signatures"),
        row("decode", "decode of the aggregate", "copy", None, None),
        row("mask", f"mask with {1 + k} streams", "masking", None, 2.5, degree_note(k, options.clients)),
        Row.timed(
            "kernel.shamir",
            "share two secrets each, rebuild all seeds",
            samples["shamir"],
            targets=(Target("median", 150.0),),
            note=f"{SHAMIR_CLIENTS} clients, threshold {SHAMIR_THRESHOLD}, all of them together",
        ),
    ]


_PEERS: Final = {
    "copy": "copy of the update",
    "sha256": "SHA-256 of the update",
    "masking": "K × (keystream + addition), all cores",
}
