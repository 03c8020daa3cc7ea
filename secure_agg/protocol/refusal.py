"""What a peer's message sets off in a library is that peer's refusal: typed, with phase and culprit, in every role.

Messages are read completely before a library sees them, so none of this should ever happen. Where it does all the same,
a round has to go on without the message, and its driver must not end by an exception that it does not know.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Final

from secure_agg.errors import MalformedMessage, SecureAggError

LIBRARY_ERRORS: Final = (
    ArithmeticError,
    AttributeError,
    BufferError,
    LookupError,
    MemoryError,
    RuntimeError,
    SystemError,
    TypeError,
    ValueError,
)
"""What compiled libraries raise. Not an ``OSError``: a disk that is full is nobody's message."""


@contextlib.contextmanager
def refusing(phase: str, culprit: str) -> Iterator[None]:
    """While a peer's message is taken: turn what a library raises into a refusal of that message.

    The text names the exception and quotes nothing of it, as it may show what has to stay here.

    Args:
        phase: that the message is of.
        culprit: its sender.

    Raises:
        MalformedMessage: instead of a library's exception. The package's own pass as they are.
    """
    try:
        yield
    except SecureAggError:
        raise
    except LIBRARY_ERRORS as error:
        raise MalformedMessage(
            f"a message can't be taken: {type(error).__name__} in a library", phase=phase, culprit=culprit
        ) from error
