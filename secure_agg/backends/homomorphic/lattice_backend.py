"""Backends ``bfv`` and ``ckks``: the lattice schemes of TenSEAL behind the homomorphic backends' rules."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final

from mpc.framing import integer
from mpc.ring import Vector
from secure_agg import extras
from secure_agg.backends.contract import Answer, Opener
from secure_agg.backends.homomorphic import coordinates, lattice, lattice_parameters, lattice_wire
from secure_agg.backends.homomorphic.backend import HomomorphicBackend
from secure_agg.backends.homomorphic.brought import contexts, rings
from secure_agg.backends.homomorphic.lattice import PublicKey, SecretKey
from secure_agg.backends.homomorphic.lattice_parameters import LatticeParameters
from secure_agg.backends.homomorphic.scheme import Scheme, Summing
from secure_agg.errors import BadInput, ConfigError
from secure_agg.protocol.config import Policy, RoundConfig
from secure_agg.protocol.evidence import DECRYPT
from secure_agg.protocol.refusal import LIBRARY_ERRORS
from secure_agg.protocol.session import Participants

_TOTAL_BYTES: Final = 8


@functools.lru_cache(maxsize=2)
def _public_key(data: bytes, parameters: LatticeParameters) -> PublicKey:
    """A role takes the same key over to check the set-up and to use it; each time would take 10 to 15 ms."""
    return PublicKey.from_bytes(data, parameters)


class _Sum(lattice.Accumulator, Summing):
    """TenSEAL's ciphertexts, added in place."""


class _Scheme(Scheme):
    repeatable = False  # TenSEAL draws its own randomness

    def __init__(self, config: RoundConfig, public: PublicKey) -> None:
        self.config, self._public = config, public

    def encrypt(self, vector: Vector, randomness: bytes) -> bytes:
        return lattice.encrypt(self._public, coordinates.split(self.config, vector))

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

    def secret_bytes(self) -> bytes:
        """Coordinates of a vector, 8 bytes little endian, and TenSEAL's context with the secret key."""
        return integer(self._key.parameters.total) + self._key.secret_bytes()

    def check(self, participants: Participants, request: bytes, hidden: memoryview) -> None:
        """Count, sizes, parameters and key, and that every chunk is a ciphertext."""
        lattice.check(self._key.public, hidden, len(participants.commitments))

    def open(self, participants: Participants, request: bytes, hidden: memoryview) -> Answer:
        """The exact integers; what the scheme's noise did to them stays here."""
        try:
            sums = lattice.decrypt(self._key, hidden, len(participants.commitments))
            return Answer(sums=coordinates.join(participants.session.config, sums))
        except LIBRARY_ERRORS as error:  # an exception of its own would be another answer than the one bit
            raise BadInput("it decrypts to no sum", phase=DECRYPT) from error


class LatticeBackend(HomomorphicBackend):
    """One of TenSEAL's schemes."""

    scheme_name: ClassVar[str]

    def parameters(self, config: RoundConfig) -> LatticeParameters:
        """The cheapest exact and secure ones for this round."""
        return self._parameters(config.policy, coordinates.length(config))

    def _parameters(self, policy: Policy, total: int) -> LatticeParameters:
        ring = rings.of_policy(policy)
        if ring is not None:
            return rings.fit(self.scheme_name, ring, policy.bits, policy.max_clients, total)
        return lattice_parameters.choose(self.scheme_name, policy.bits, policy.max_clients, total)

    def check_policy(self, policy: Policy) -> None:
        """A ring that is named is one in which sums are exact and secure."""
        super().check_policy(policy)
        if rings.of_policy(policy) is not None:
            self._parameters(policy, 1)

    def scheme(self, config: RoundConfig, public: bytes) -> Scheme:
        """TenSEAL's public context, compared with the round's parameters."""
        extras.require("he")
        return _Scheme(config, _public_key(public, self.parameters(config)))

    def hidden_sizes(self, config: RoundConfig) -> range:
        """Ciphertexts are compressed, so there is an upper bound only."""
        return range(1, lattice_wire.largest_vector(self.parameters(config)) + 1)

    def usual_size(self, config: RoundConfig) -> float:
        """Compression leaves as many bits of a residue as its prime has."""
        found = self.parameters(config)
        return found.chunks * 2 * found.degree * sum(found.prime_bits[:-1]) / 8

    def amounts(self, config: RoundConfig, survivors: int) -> Mapping[str, Mapping[str, float]]:
        """Bytes of the public ``key`` that a client gets, of those that all do (``keys``), and of a vector's or all
        vectors' ``residues`` before compression, which saves less of a word the longer its prime is.
        """
        found = self.parameters(config)
        key, residues = 2 * found.degree * sum(found.prime_bits) / 8, float(found.chunks * found.residue_bytes)
        return {
            "client": {"key": key, "residues": residues},
            "aggregator": {"keys": config.cohort_size * key, "residues": survivors * residues, "summed": residues},
            "operator": {"residues": residues},
        }

    def generate(self, config: RoundConfig, holders: Sequence[str]) -> dict[str, Opener]:
        """One key for one holder: TenSEAL has no threshold mode."""
        if len(holders) != 1:
            raise ConfigError(f"backend {self.name!r} can't split its key among {len(holders)} holders")
        extras.require("he")
        return {holders[0]: LatticeOpener(lattice.keygen(self.parameters(config)))}

    def settings(self, key: object) -> Mapping[str, int]:
        """The ring of a TenSEAL context."""
        extras.require("he")
        ring = contexts.ring(contexts.serialised(key), self.scheme_name)
        ring.check(self.scheme_name)
        return ring.options

    def bring(self, config: RoundConfig, key: object) -> Opener:
        """The key of a TenSEAL context: a ``tenseal.Context``, or its bytes."""
        self.check_settings(config.policy, key)
        return LatticeOpener(contexts.take_over(contexts.serialised(key), self.parameters(config)))

    def opener(self, policy: Policy, data: bytes) -> Opener:
        """The parameters follow from the policy and the number of coordinates that is kept with the key."""
        extras.require("he")
        total, context = int.from_bytes(data[:_TOTAL_BYTES], "little"), data[_TOTAL_BYTES:]
        return LatticeOpener(SecretKey.from_bytes(context, self._parameters(policy, total)))
