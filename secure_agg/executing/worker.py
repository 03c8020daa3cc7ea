"""What a worker process of ``processes`` runs; started as a script, it answers calls until its input ends.

It ends with the process that started it, however that ends. Whatever it prints goes to standard error: standard output
is the line to that process.
"""

from __future__ import annotations

import json
import os
import sys


def main() -> None:
    """Take over the module path of whoever has started this, then answer calls."""
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.path[:] = json.loads(source.readline())
    # Only now is it known where these are.
    from secure_agg.executing.carrying import Line
    from secure_agg.executing.pool import Desk

    line, desk = Line(source, sink, os.getppid()), Desk()
    line.shares = line.shares and _can_open_memory()
    while True:
        try:
            call = line.receive()
        except EOFError:
            return
        answer = desk.answer(call)
        del call
        try:
            line.send(answer)
        except BrokenPipeError:
            return
        except Exception as error:  # it can't be pickled: say so instead
            line.send((False, TypeError(f"an answer can't be handed back: {error}")))
        del answer


def _can_open_memory() -> bool:
    """Whether this system lets one process open what another one has in memory."""
    return os.access(f"/proc/{os.getppid()}/fd", os.R_OK | os.X_OK)


if __name__ == "__main__":
    main()
