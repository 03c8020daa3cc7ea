"""What the suite ``he`` is run with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from mpc.paillier import paillier
from mpc.paillier.packing import Packing
from secure_agg.backends.homomorphic import lattice_parameters
from secure_agg.protocol.config import Policy
from zk import parameters

BITS: Final = 16
CLIENTS: Final = 100
MODULUS_BITS: Final = 2048


@dataclass(frozen=True)
class HeOptions:
    """What the suite is run with.

    Attributes:
        params: length of the vectors.
        clients: headroom of the sums.
        bits: per value.
        repeat: repetitions of everything that is repeated.
        modulus_bits: of the Paillier keys.
        full: decrypt whole Paillier vectors, not a sample.

    Raises:
        ValueError: one is out of range, or together they are not supported.
    """

    params: int
    clients: int
    bits: int
    repeat: int
    modulus_bits: int
    full: bool = False

    def __post_init__(self) -> None:
        if self.params < 1 or self.repeat < 1:
            raise ValueError(f"--params {self.params} and --repeat {self.repeat} must be 1 or more")
        if self.repeat > self.clients - 2:
            raise ValueError(
                f"--repeat {self.repeat} is above {self.clients - 2}: every repetition adds a vector to a sum that "
                f"holds two, with room for --clients {self.clients}"
            )
        paillier.check_bits(self.modulus_bits)
        Policy.default(self.clients, bits=self.bits)
        parameters.choose(self.bits, self.clients, self.params)
        for scheme in (lattice_parameters.BFV, lattice_parameters.CKKS):
            lattice_parameters.choose(scheme, self.bits, self.clients, self.params)
        _ = self.packing

    @property
    def packing(self) -> Packing:
        """How vectors lie in Paillier plaintexts."""
        return Packing((1 << self.bits) - 1, self.clients, self.modulus_bits)

    @property
    def stated(self) -> bool:
        """Whether values and headroom are those that the targets are stated for."""
        return (self.bits, self.clients) == (BITS, CLIENTS)

    @property
    def stated_key(self) -> bool:
        """Whether the Paillier key is, too."""
        return self.stated and self.modulus_bits == MODULUS_BITS

    @property
    def millions(self) -> float:
        """Millions of parameters."""
        return self.params / 1_000_000
