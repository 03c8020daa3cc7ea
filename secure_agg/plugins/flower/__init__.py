"""Flower: an app with a stock strategy trains in secure, verified rounds.

On the client, ``@app.train(mods=[secure_mod])`` and ``@app.evaluate(mods=[secure_mod])``; on the server,
``strategy.start(grid=SecureGrid(grid, strategy, home), …)``. Everything else of the app stays as it is.

* ``mod``: the client's side. ``grid``: the server's; ``strategies`` says which strategies keep their meaning.
* ``questions``, ``answers``: statistics without a model, asked by a ServerApp and answered by nodes.
* ``exchange``: messages to many nodes at once, until a deadline. ``asking``: what is in their replies.
* ``channel``: a way beside Flower's messages, so that a round takes one of them.
* ``wire``: payloads in Flower's messages.
* ``records``: models as arrays. ``given``: what an app is given, as one digest.
* ``logs``: our lines in Flower's log. ``simulation``: homes where Flower simulates all nodes on one machine.
"""

import importlib
from typing import TYPE_CHECKING, Any, Final

from secure_agg.plugins.core.versions import require

require("flwr", ">=1.41,<1.43", "flower")

from secure_agg.plugins.flower.mod import own_arrays, secure_mod  # noqa: E402 - after the version has been checked

if TYPE_CHECKING:
    from secure_agg.plugins.flower.answers import answer_question
    from secure_agg.plugins.flower.grid import SecureGrid
    from secure_agg.plugins.flower.questions import GridFederation

__all__ = ["GridFederation", "SecureGrid", "answer_question", "own_arrays", "secure_mod"]

_LATER: Final = {"GridFederation": "questions", "SecureGrid": "grid", "answer_question": "answers"}


def __getattr__(name: str) -> Any:
    """The server's side, and statistics, once they are asked for: Flower starts a process for every message of a
    client, without them.
    """
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
