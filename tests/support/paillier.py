"""A whole Paillier key from primes that were found before, and vectors to encrypt with it."""

from __future__ import annotations

import numpy as np

from mpc.paillier.packing import Packing
from mpc.paillier.paillier import SecretKey
from mpc.ring import Vector

# Two safe primes of 1,024 bits, published here and so of no use to anybody else.
P = 0xECEEE6DC04BCD5E93C200DD34A33591111CB2B540D8BEC9BFC2231F854B20C7F843C92EF2A96C0B799A432C024EEA9F73FA75E6F8BC03C27195E53F38F4807CE50626947D73F0D69627488126E0A2EEEDC4853A51E7DC885457BEA78EF6FA2F4DA0CC35967E9618FA5F84A7CCCD78CB52FB1C0330F7F5024C025B11564EE4F97  # noqa: E501
Q = 0xC99AC0DF40BAA0ED4912876B1E93410E0887B3E9FEDBEFC1AB01B348FDE708C11B7EBAB82FBE693117C7E972C61FEA6899E59186900D445D108433B1AB5B9BBB368AEC73A8B3262D71DC5027DCB55D723BAD15EC81DB40B5918F834C26040FE5979F19DC1B2BE417D1034D0B28DEFB437D92A90B73B81BB8A8322D000806991B  # noqa: E501

SECRET = SecretKey(P, Q)
PUBLIC = SECRET.public
N, N2 = PUBLIC.n, PUBLIC.n**2
PACKING = Packing(value_bits=16, clients=100, modulus_bits=2048)


def vector_of(length: int, seed: int = 0, bits: int = 16) -> Vector:
    return np.random.default_rng(seed).integers(0, 1 << bits, length, dtype=np.uint32)
