"""Backend ``ckks``: integers in the slots of the approximate scheme, rounded back to exact sums by the key holder."""

from __future__ import annotations

from secure_agg.backends.contract import TrustStatement
from secure_agg.backends.homomorphic.brought import rings
from secure_agg.backends.homomorphic.lattice_backend import LatticeBackend
from secure_agg.backends.homomorphic.lattice_parameters import CKKS


class CkksBackend(LatticeBackend):
    """Cheon–Kim–Kim–Song on SEAL, through TenSEAL.

    The released value is the exact integer, never the noisy one: decryptions of an approximate scheme that others get
    to see give its key away (Li and Micciancio 2021).
    """

    name = "ckks"
    scheme_name = CKKS
    options = (rings.DEGREE, rings.PRIMES, rings.MORE_PRIMES)
    trust = TrustStatement(
        summary="approximate lattice encryption used for exact integers; for those who have TenSEAL deployments",
        trusted="the key holder does not collude with the aggregator: together they read every update",
        dropouts="tolerated before the input phase; the key holder must answer",
        post_quantum="yes, but for signatures",
        limits="one key holder: TenSEAL has no threshold decryption; eight failed checks retire its key",
        lasting=True,
    )
