"""A server's process that is killed in a round: ``python killed_round.py FEDERATION PLACE AFTER``.

The nodes' homes are on disk, and each payload is handled by a new participant; when so many have answered the payloads
``step`` of a place, the process kills itself, as a power cut would.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from support.frameworks.plugin_rounds import METRICS, NAMES, WEIGHTS, Nodes, model, updates

from secure_agg.plugins.core.coordinator import Coordinator
from secure_agg.plugins.core.phases import Payload
from secure_agg.plugins.homes.server import ServerHome


class Dying(Nodes):
    """Nodes whose server dies."""

    place: int
    after: int

    def __call__(
        self, kind: str, requests: Sequence[tuple[str, Payload]], deadline_s: float
    ) -> Iterator[tuple[str, bytes | Exception]]:
        here = self._places.get(kind, -1) + 1
        for count, answer in enumerate(super().__call__(kind, requests, deadline_s)):
            if (kind, here, count) == ("step", self.place, self.after):
                os.kill(os.getpid(), signal.SIGKILL)
            yield answer


def main() -> None:
    folder, place, after = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    nodes = Dying({name: folder / "clients" / name for name in NAMES}, updates(0), model(), WEIGHTS, METRICS)
    nodes.place, nodes.after = place, after
    Coordinator(ServerHome.open(folder / "server")).round(model(), nodes)


if __name__ == "__main__":
    main()
