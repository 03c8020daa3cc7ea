"""Which attempt is the next: its round, draw and number, and the configuration that follows from them.

Numbers are claimed in the server's durable store before anybody is asked: none is used twice, whatever has crashed.
"""

from __future__ import annotations

from secure_agg.errors import AlreadyReleased, RunStopped
from secure_agg.fl.layers import Floats
from secure_agg.local.draws import Draw
from secure_agg.plugins.core.server.unfinished import Unfinished
from secure_agg.plugins.core.training import round_grouping, round_shapes
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.config.round_config import MAX_DRAWS
from secure_agg.protocol.messages import ADVERTISE
from secure_agg.protocol.renunciation import RenunciationCertificate
from secure_agg.roles.task import Task


class Numbering:
    """Of one server's home."""

    def __init__(self, home: ServerHome) -> None:
        self._home = home

    def configure(self, leading: Task, model: Floats, base: bytes, instructions: bytes, *, trains: bool) -> RoundConfig:
        """The next attempt's.

        Args:
            leading: the task, under the epoch in force.
            model: that it is over.
            base: its digest.
            instructions: digest of what apps are given beside it.
            trains: whether it sums updates, and not the metrics of an evaluation only.

        Raises:
            RunStopped, PulseMissing: see ``draw``.
        """
        number, shapes = self._number(leading, base), round_shapes(leading.policy, model, trains=trains)
        grouping = round_grouping(leading.policy, model, trains=trains)
        draw = self.draw(leading, number)

        def configure(attempt: int, renounced: RenunciationCertificate | None = None) -> RoundConfig:
            return leading.next_round(
                shapes,
                number=number,
                draw=draw.draw,
                beacon=draw.beacon,
                attempt=attempt,
                base_model=base,
                instructions=instructions,
                renounced=renounced,
                grouping=grouping,
            )

        first = configure(0)
        renounced = Unfinished(self._home, leading.name).certificate(first)
        if renounced is not None and renounced.statement.generation < first.generation:
            renounced = None  # an epoch was closed since, and has begun a later one
        return configure(self._attempt(leading.name, number), renounced)

    def _number(self, leading: Task, base: bytes) -> int:
        """The number of a round from this model. Whoever has signed in a round that came to nothing signs no other set
        under its number, nor does an operator open another sum: a new model gets a new number, in increasing order.
        """

        def begun(number: int) -> bytes | None:
            return self._home.store.get((self._home.name, leading.name, number), "base model")

        number = leading.next_number
        while begun(number) not in (None, base) or begun(number + 1) is not None:
            number += 1
        self._home.store.put((self._home.name, leading.name, number), "base model", base)
        return number

    def kill_draw(self, config: RoundConfig) -> None:
        """Note that a draw has had too few clients: the next try is another one's."""
        if config.beacon:
            self._home.store.put((self._home.name, config.task, config.round), _dead(config.epoch, config.draw), b"1")

    def draw(self, leading: Task, number: int) -> Draw:
        """The draw of the cohort: of those of the round the first that has not died of too few clients.

        Raises:
            RunStopped: all have.
            PulseMissing: its pulse is not there.
        """
        scope, epoch = (self._home.name, leading.name, number), leading.pins.epoch
        living = (draw for draw in range(MAX_DRAWS) if self._home.store.get(scope, _dead(epoch, draw)) is None)
        draw = next(living, None)
        if draw is None:
            raise RunStopped(
                f"all {MAX_DRAWS} draws of round {number} of {leading.name!r} had too few clients: training goes on "
                "in another epoch or task, with a larger dropout or more clients connected"
            )
        return self._home.draws.draw(leading, number, draw)

    def _attempt(self, task: str, number: int) -> int:
        """The first attempt at a round that has not been begun, also by an earlier process."""
        attempt = 0
        while True:
            try:
                self._home.store.claim((self._home.name, task, number), f"attempt {attempt}", phase=ADVERTISE)
            except AlreadyReleased:
                attempt += 1
            else:
                return attempt


def _dead(epoch: int, draw: int) -> str:
    return f"draw {draw} of epoch {epoch} is dead"  # a later one may have other pulses, and take fewer clients
