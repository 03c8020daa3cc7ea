"""What each role holds at most, above a process that does nothing and, at a client, the update itself.

Vectors are counted: 4 bytes for a coordinate of Z_p or of a message, 8 for a value of a mean. What grows with the
clients is the evidence without its sums, which is there encoded, decoded and as a part of messages, and the shares that
a masking aggregator relays. A process itself takes about 100 MB, with TenSEAL 150.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from secure_agg.planning import homomorphic
from secure_agg.planning.direct import Step
from secure_agg.planning.masking import edges
from secure_agg.planning.setting import Setting

_HEADERS: Final = 4.5
"""How often the evidence without its sums is there at most, decoded objects included: measured at 100 clients."""
_EDGE: Final = 650.0
"""Bytes of an edge at a masking aggregator, as Python objects: measured."""
_VALUE: Final = 8
"""Bytes of a value of the mean."""


def peaks(setting: Setting, steps: Sequence[Step]) -> dict[str, float]:
    """Bytes of one party of each role.

    Args:
        steps: of the setting's backend; the last sends the evidence.
    """
    vector, mean = float(setting.vector_bytes), float(_VALUE * setting.layout.values)
    headers = _HEADERS * (steps[-1].request - vector)
    # The sums and a copy to hash them; the mean once, at the aggregator twice: made, and made again by its check.
    found = {"client": 2 * vector + mean + headers, "aggregator": 2 * vector + 2 * mean + headers}
    if setting.backend == "masking":
        found["aggregator"] += _EDGE * setting.clients * edges(setting)
    elif setting.backend == "additive":
        scheme = setting.scheme
        long = scheme.parties - scheme.threshold + 1
        # Its vector, a share that is expanded, and each long one: as it is, sealed, and in its message.
        found["client"] = max(found["client"], (2 + 3 * long) * vector)
        found["aggregator"] += scheme.parties * vector
        # The sum, the letters that may have to be taken out again, and one that is opened.
        found["shareholder"] = (2 + setting.advertised * long / scheme.parties) * vector + headers / 2
    elif setting.backend in ("bfv", "ckks", "paillier"):
        used = homomorphic.scheme(setting)
        found["client"] = max(found["client"], vector + 2 * used.size + used.key)
        found["aggregator"] = max(found["aggregator"], used.residues + 2 * used.size + headers)
        found["keyholder"] = used.size + 2 * vector + mean + headers
    return found
