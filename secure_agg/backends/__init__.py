"""Ways of hiding updates while they are summed: one class each, behind one contract, found by name.

* ``contract``: what a backend declares and does, for each role.
* ``masking``: pairwise masks. ``additive``: shares among aggregators. ``crypten``: computing on shares.
* ``bfv``, ``ckks``, ``paillier``: ciphertexts under a key holder's key, all made of ``homomorphic``.
* ``plain``: nothing hidden, the baseline. ``packed``: where several values are committed to as one.
"""

from __future__ import annotations

import functools

from secure_agg import installed
from secure_agg.backends.contract import Backend


def names() -> tuple[str, ...]:
    """Names of all backends that are installed."""
    return installed.backend_names()


@functools.cache
def load(name: str) -> Backend:
    """The backend of that name, from the entry-point group ``secure_agg.backends``.

    Raises:
        ConfigError: none or several have that name, or what is registered is no backend.
    """
    return installed.backend(name, Backend)  # type: ignore[type-abstract]  # mypy takes no abstract class as type[T]
