"""``secure-agg`` that is killed at one place, by itself and for good: ``python killed.py WHERE ARGUMENTS…``.

WHERE of a service is ``KIND:PLACE:ANSWERS``: when so many answers to the PLACE-th payloads of this kind were taken in
by the round; or ``recorded``: when a round is in the ledger and nobody has heard of it. Of a member it is
``before:NUMBER`` or ``after:NUMBER``: around its NUMBER-th answer.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

from secure_agg.cli import main
from secure_agg.plugins.core.phases import Attempt
from secure_agg.service.link import Link
from secure_agg.service.post import Post


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_service(kind: str, place: int, answers: int) -> None:
    counts: dict[str, int] = {}
    ask = Post._ask

    def killed(self: Post, asked: str, *rest: Any) -> Iterator[Any]:
        counts[asked] = counts.get(asked, -1) + 1
        for heard, answer in enumerate(ask(self, asked, *rest)):
            if (asked, counts[asked], heard) == (kind, place, answers):
                die()
            yield answer

    Post._ask = killed  # type: ignore[method-assign]


def kill_recorded() -> None:
    def deliver(*_: Any) -> Iterator[str]:
        die()
        yield from ()

    Attempt.deliver = deliver  # type: ignore[method-assign]


def kill_member(when: str, number: int) -> None:
    count = [0]
    answer = Link.answer

    def killed(self: Link, item: str, payload: bytes) -> bool:
        count[0] += 1
        if (when, number) == ("before", count[0]):
            die()
        sent = answer(self, item, payload)
        if (when, number) == ("after", count[0]):
            die()
        return sent

    Link.answer = killed  # type: ignore[method-assign]


if __name__ == "__main__":
    where, *arguments = sys.argv[1:]
    match where.split(":"):
        case ["recorded"]:
            kill_recorded()
        case [("before" | "after") as when, number]:
            kill_member(when, int(number))
        case [kind, place, answers]:
            kill_service(kind, int(place), int(answers))
        case _:
            raise SystemExit(f"no place {where!r}")
    main(arguments)
