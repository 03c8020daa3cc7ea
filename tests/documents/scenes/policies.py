"""Guides to what is settled before a round: policies and draws."""

from __future__ import annotations

from typing import Final

from documents.scenes import Scene

SCENES: Final = (
    Scene("docs/preflight.md", long=True),
    Scene(
        "docs/sampling.md",
        steps={
            "$ secure-agg beacon pin --out beacon --in 86400 --step 20": """
$ python -c "
from secure_agg import Identity
for number in range(1000):
    print(f'--client-key phone-{number}={Identity.generate(str(number)).public.hex()}')" > phones.txt
"""
        },
        needs=("py_arkworks_bls12381",),
        long=True,
    ),
)
