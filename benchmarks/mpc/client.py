"""A client of backend ``additive``: what sharing costs it beside the least it could, and what it sends."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks import limits
from benchmarks.federation import FEWEST_CLIENTS, Federation, client, update
from benchmarks.limits import Limits
from benchmarks.mpc.options import MpcOptions
from benchmarks.results import Row, Target
from benchmarks.timing import Samples, interleaved
from mpc.ring import Vector, byte_view
from secure_agg import backends
from secure_agg.backends.additive import rules
from secure_agg.backends.additive.client import AdditiveClient
from secure_agg.backends.packed import Committed
from secure_agg.protocol.messages import ADVERTISE
from secure_agg.roles.client.client import Client
from zk.commitment import Commitment

THRESHOLDS: Final = ((3, 3), (3, 2), (4, 2))
"""(k, t) of the uploads that are shown."""
_COUNTS: Final = (2, 3, 4, 5)
_SMALL: Final = 1_000
_LIMITS: Final = ("keystream", "keystream_all_cores", "add", "sha256", "copy")


def minus(whole: Samples, part: Samples) -> Samples:
    """What is left of an operation without a part that was measured beside it, repetition by repetition."""
    return Samples(tuple(a - b for a, b in zip(whole.seconds, part.seconds, strict=True)))


class Sharing:
    """The operands; each method is one repetition."""

    def __init__(self, options: MpcOptions) -> None:
        federation = Federation.of(
            options.clients,
            options.params,
            options.bits,
            backend="additive",
            options={"aggregators": options.aggregators},
        )
        config, self._name = federation.config, federation.names[0]
        self.update = update(options.params)
        self.streams = options.aggregators - 1
        self.joined: list[dict[str, float]] = []
        self._config, self._trust = config, federation.trust
        self._vector: Vector = np.ones(config.layout.total, dtype=np.uint32)
        self._shared = Committed(config).load(self._vector)
        self._commitment: Commitment = rules.linear_hash(config, self._shared)
        self._sealer = AESGCM(os.urandom(32))
        self._request = _request(federation, self._name)
        side = backends.load("additive").client(config, self._name, _secret, federation.setup, lambda make: make())
        if not isinstance(side, AdditiveClient):
            raise TypeError(f"{side!r} is no client of backend additive")
        self._side = side

    def split(self) -> None:
        """The shares, and their commitments' hashes."""
        self._side.bind(self._commitment, bytes(32), self._vector)

    def commitments(self) -> None:
        """Those that splitting computes: of all shares but one. The last follows from them and the vector's."""
        for _ in range(self.streams):
            rules.linear_hash(self._config, self._shared)

    def commit(self) -> None:
        """One."""
        rules.linear_hash(self._config, self._shared)

    def seal(self) -> None:
        """AES-GCM of a share."""
        self._sealer.encrypt(bytes(12), byte_view(self._shared), b"")

    def digest(self) -> None:
        """SHA-256 of a share, for its signature."""
        hashlib.sha256(byte_view(self._shared)).digest()

    def join(self) -> None:
        """All that a client does before its messages leave."""
        joining = client(self._name, self._trust)
        joining.join(self._request, [self.update])
        self.joined.append(dict(joining.timings.seconds))


def _secret(label: str) -> bytes:
    return hashlib.sha256(label.encode()).digest()


def _request(federation: Federation, name: str) -> bytes:
    """What asks a client to join: the operators have to agree to the round first."""
    aggregator, holders = federation.aggregator(), federation.share_holders()
    for envelope in aggregator.start():
        aggregator.receive(holders[envelope.recipient].receive(envelope.data))
    return next(envelope.data for envelope in aggregator.advance() if envelope.recipient == name)


def rows(options: MpcOptions) -> list[Row]:
    """The machine's limits, the sharing, the uploads."""
    sharing = Sharing(options)
    machine = Limits(sharing.update)
    operations: dict[str, Callable[[], object]] = {name: getattr(machine, name) for name in _LIMITS}
    operations |= {
        "floor": functools.partial(machine.masking, sharing.streams),
        "split": sharing.split,
        "commitments": sharing.commitments,
        "commit": sharing.commit,
        "seal": sharing.seal,
        "digest": sharing.digest,
        "join": sharing.join,
    }
    samples = interleaved(operations, options.repeat)
    return [*limits.rows(samples, options.params), *_times(options, samples, sharing), *_uploads(options)]


def _times(options: MpcOptions, samples: dict[str, Samples], sharing: Sharing) -> list[Row]:
    def part(name: str) -> Samples:
        return Samples(tuple(seconds[name] for seconds in sharing.joined[1:]))  # the first one compiles

    k, split, commitments, floor = options.aggregators, samples["split"], samples["commitments"], samples["floor"]
    send = minus(part(ADVERTISE), split)
    sealed = samples["seal"] + samples["digest"]
    whole = part("encode") + part("commit") + part(ADVERTISE)
    least = floor + commitments + samples["commit"] + sealed

    def row(key: str, name: str, own: Samples, peer: tuple[str, Samples], note: str, *targets: Target) -> Row:
        return Row.timed(
            f"client.{key}",
            name,
            own,
            derived=1e9 * own.median / options.params,
            derived_unit="ns/param",
            peer=peer,
            targets=targets,
            note=note,
        )

    streams = f"{k - 1} × (keystream + addition), all cores"
    return [
        row(
            "commit",
            "client: one commitment",
            samples["commit"],
            ("SHA-256 of the vector", samples["digest"]),
            "",
        ),
        row(
            "split",
            "client: split, without the commitments",
            minus(split, commitments),
            (streams, floor),
            f"{k} aggregators; with {k - 1} commitments {1e3 * split.median:.3g} ms",
            Target("ratio", 2.5),
        ),
        row(
            "send",
            "client: seal, hash, sign",
            send,
            ("AES-256-GCM and SHA-256 of the long share", sealed),
            f"{k} letters and the advertisement",
        ),
        row(
            "share",
            "client: both, all that sharing adds",
            minus(split, commitments) + send,
            (f"{streams}; AES-256-GCM and SHA-256", floor + sealed),
            "",
            Target("ratio", 2.5),
        ),
        row(
            "join",
            "client: all until its messages leave",
            whole,
            (f"{streams}; {k} commitments, AES-256-GCM and SHA-256", least),
            f"encode {1e3 * part('encode').median:.3g} ms, commit {1e3 * part('commit').median:.3g} ms",
        ),
    ]


# --- uploads ----------------------------------------------------------------------------------------------------------


def sent_bytes(params: int, clients: int, bits: int, aggregators: int, threshold: int) -> int:
    """All that a client sends in a round."""
    chosen = {"aggregators": aggregators, "threshold": threshold}
    federation = Federation.of(clients, params, bits, backend="additive", options=chosen)
    name = federation.names[0]
    joining: Client = client(name, federation.trust)
    values: npt.NDArray[np.float32] = update(params)
    response = joining.join(_request(federation, name), [values])
    return len(response) + sum(len(letter.data) for letter in joining.outbox)


def _uploads(options: MpcOptions) -> list[Row]:
    found = []
    for parties, threshold in THRESHOLDS:
        size = sent_bytes(options.params, FEWEST_CLIENTS, options.bits, parties, threshold)
        found.append(
            Row(
                key=f"upload.{threshold}of{parties}",
                name=f"client: upload, {threshold} of {parties} aggregators open a sum",
                unit="bytes",
                median=size,
                derived=size / options.params,
                derived_unit="B/param",
                targets=(Target("derived", 4.05),) if threshold == parties else (),
                note=f"{parties - threshold + 1} long shares, {threshold - 1} keys",
            )
        )
    sizes = [sent_bytes(_SMALL, FEWEST_CLIENTS, options.bits, count, count) - 4 * _SMALL for count in _COUNTS]
    slope, constant = np.polyfit(_COUNTS, sizes, 1)
    found.append(
        Row(
            key="upload.aggregator",
            name="client: upload for each aggregator, whatever the model",
            unit="bytes",
            median=float(slope),
            note=f"line through {len(_COUNTS)} sizes; {constant:,.0f} bytes besides, most of them randomness",
        )
    )
    return found
