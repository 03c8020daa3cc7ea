"""Guides that need nothing but Python, in one process."""

from __future__ import annotations

from typing import Final

from documents.scenes import Scene

SCENES: Final = (
    Scene("README.md", ("A first result",), by="tests/documents/test_readme.py"),
    Scene(
        "docs/algorithms.md",
        ("In a loop of one's own",),
        given={
            "": """
import numpy as np, secure_agg
clients, rounds, model = ('a', 'b', 'c', 'd'), 2, [np.zeros(6)]
gradient = {name: lambda model: [model[0] - 0.1] for name in clients}
"""
        },
    ),
    Scene("docs/buffered.md"),
    Scene("docs/executors.md", ("Many cores, many machines",), long=True),
    Scene(
        "docs/numbers.md",
        ("Groups",),
        given={
            "": """
import numpy as np
one = [np.full(4, 0.05), np.full(2, 0.01), np.ones(3), np.full(4, 0.2), np.array([3.0, 7.0])]
updates, examples = {name: one for name in 'abcd'}, dict.fromkeys('abcd', 5)
"""
        },
    ),
    Scene(
        "docs/numbers.md",
        ("A part of the values",),
        given={
            "": """
from secure_agg import Group
from support.federation import Federation
four = Federation(4, policy_changes={'groups': [Group(name='model', bits=16, clip=4.0, support=(1, 2))]})
name, residual, config = four.names[0], [], four.config()
update = four.updates[name]
def play(config, given):
    four.updates[name] = given
    return four.round().run()
"""
        },
    ),
)
