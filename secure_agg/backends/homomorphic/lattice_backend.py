"""Backends ``bfv`` and ``ckks``: the lattice schemes of TenSEAL behind the homomorphic backends' rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from mpc.ring import ELEMENT_BYTES, Vector
from secure_agg.agreement import Participants
from secure_agg.backends.base import Answer, Opener
from secure_agg.backends.homomorphic import lattice, lattice_parameters, lattice_wire
from secure_agg.backends.homomorphic.backend import HomomorphicBackend
from secure_agg.backends.homomorphic.lattice import PublicKey, SecretKey
from secure_agg.backends.homomorphic.lattice_parameters import LatticeParameters
from secure_agg.backends.homomorphic.scheme import Scheme, Summing
from secure_agg.config import RoundConfig
from secure_agg.errors import ConfigError


class _Sum(lattice.Accumulator, Summing):
    """TenSEAL's ciphertexts, added in place."""


class _Scheme(Scheme):
    def __init__(self, public: PublicKey) -> None:
        self._public = public
        self.sum_bytes = public.parameters.total * ELEMENT_BYTES

    def encrypt(self, vector: Vector, randomness: bytes) -> bytes:
        return lattice.encrypt(self._public, vector)

    def summing(self) -> Summing:
        return _Sum(self._public)


class LatticeOpener(Opener):
    """The secret key of a lattice scheme."""

    def __init__(self, key: SecretKey) -> None:
        self._key = key

    def __repr__(self) -> str:
        return f"LatticeOpener({self._key!r})"

    @property
    def public(self) -> bytes:
        """The public context."""
        return self._key.public_bytes()

    def check(self, participants: Participants, request: bytes, hidden: memoryview) -> None:
        """Count, sizes, parameters and key of every chunk."""
        lattice_wire.split(hidden, self._key.parameters, self._key.public.digest)

    def open(self, participants: Participants, request: bytes, hidden: memoryview) -> Answer:
        """The exact integers; what the scheme's noise did to them stays here."""
        return Answer(sums=lattice.decrypt(self._key, hidden, len(participants.commitments)))


class LatticeBackend(HomomorphicBackend):
    """One of TenSEAL's schemes."""

    scheme_name: ClassVar[str]

    def parameters(self, config: RoundConfig) -> LatticeParameters:
        """The cheapest exact and secure ones for this round."""
        layout, policy = config.layout, config.policy
        return lattice_parameters.choose(self.scheme_name, max(policy.bits, 8), policy.max_clients, layout.total)

    def scheme(self, config: RoundConfig, public: bytes) -> Scheme:
        """TenSEAL's public context, compared with the round's parameters."""
        return _Scheme(PublicKey.from_bytes(public, self.parameters(config)))

    def hidden_sizes(self, config: RoundConfig) -> range:
        """Ciphertexts are compressed, so there is an upper bound only."""
        return range(1, lattice_wire.largest_vector(self.parameters(config)) + 1)

    def generate(self, config: RoundConfig, holders: Sequence[str]) -> dict[str, Opener]:
        """One key for one holder: TenSEAL has no threshold mode."""
        if len(holders) != 1:
            raise ConfigError(f"backend {self.name!r} can't split its key among {len(holders)} holders")
        return {holders[0]: LatticeOpener(lattice.keygen(self.parameters(config)))}
