"""What the rounds of a log have spent together, for whoever goes through it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from secure_agg.errors import VerificationError
from secure_agg.privacy import accounting
from secure_agg.privacy.accounting import DELTA_UNIT
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.privacy.claim import in_words


@dataclass
class Spending:
    """What rounds of one task in a log have spent, for whoever goes through it: of each client what the records that it
    is in add up to. It is a lower bound of what the client has spent: sets that were signed, and of which no record
    tells, count for the client too.

    Attributes:
        rounds: of the task, with privacy.
        epsilon, delta: the budget that was in force in the last of them.
        clients: of each client how many rounds, by their noise ratio in 1024ths.
    """

    rounds: int = 0
    epsilon: int = 0
    delta: int = 0
    clients: dict[str, Counter[int]] = field(default_factory=dict)

    def add(self, config: RoundConfig, participants: Iterable[str]) -> None:
        """Count a round that was verified. Its budget binds those who are in it, and nobody else: who has spent more
        under an earlier one signs no more, and others may go on under a smaller.

        Raises:
            VerificationError: a client's budget would be exceeded, which no client that follows the rules signs.
        """
        rule = config.policy.privacy
        if rule is None:
            return
        self.rounds, self.epsilon, self.delta = self.rounds + 1, rule.epsilon, rule.delta
        counted = [self.clients.setdefault(name, Counter()) for name in participants]
        for rounds in counted:
            rounds[rule.ratio] += 1
        spent = self._most(counted)
        if spent > rule.epsilon:
            raise VerificationError(
                f"rounds of task {config.task!r} have spent epsilon = {in_words(spent)} of some client, above its "
                f"budget of {in_words(rule.epsilon)}"
            )

    @property
    def spent(self) -> int:
        """ε in millionths, of whoever has spent most."""
        return self._most(self.clients.values())

    def _most(self, clients: Iterable[Counter[int]]) -> int:
        kinds = {tuple(sorted(found.items())) for found in clients}  # of clients with the same it is computed once
        return max((accounting.spent(dict(kind), self.delta, self.epsilon) for kind in kinds), default=0)

    @property
    def text(self) -> str:
        """For people."""
        return (
            f"epsilon = {in_words(self.spent)} of {in_words(self.epsilon)} at delta = {self.delta / DELTA_UNIT:g} "
            f"over {self.rounds} rounds, at least"
        )
