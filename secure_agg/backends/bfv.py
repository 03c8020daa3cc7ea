"""Backend ``bfv``: exact lattice encryption, the smallest ciphertexts."""

from __future__ import annotations

from secure_agg.backends.contract import TrustStatement
from secure_agg.backends.homomorphic.brought import rings
from secure_agg.backends.homomorphic.lattice_backend import LatticeBackend
from secure_agg.backends.homomorphic.lattice_parameters import BFV


class BfvBackend(LatticeBackend):
    """Brakerski–Fan–Vercauteren on SEAL, through TenSEAL."""

    name = "bfv"
    scheme_name = BFV
    options = (rings.DEGREE, rings.PRIMES, rings.MORE_PRIMES, rings.PLAIN_MODULUS)
    trust = TrustStatement(
        summary="lattice encryption under a key holder's key; the aggregator adds ciphertexts",
        trusted="the key holder does not collude with the aggregator: together they read every update",
        dropouts="tolerated before the input phase; the key holder must answer",
        post_quantum="yes, but for signatures",
        limits="one key holder: TenSEAL has no threshold decryption; eight failed checks retire its key",
        lasting=True,
    )
