"""Settings of a backend's own, declared: what they are called, in which range, and what for.

One declaration is what policies are checked against, and what the command line and the documents show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from secure_agg.errors import ConfigError
from secure_agg.protocol.config import HALVES, MAX_OPTION, Policy
from secure_agg.protocol.config.norm import MAX_OUTSIDE, NORM_EXCESS, NORM_OUTSIDE, NORM_STEPS
from secure_agg.protocol.config.tree import EDGE, LEVEL, LEVEL_NAMES, TOP


@dataclass(frozen=True)
class OptionRule:
    """One option: an integer.

    Attributes:
        name: under which a policy holds it.
        low, high: the smallest and the largest that it may be.
        help: what it sets, as a phrase.
        default: what holds where a policy does not name it; None where that follows from other settings.
        usual: where it follows from others, how, in words.
        step: it is a multiple of this.
        meanings: what each value stands for, where they are names.
    """

    name: str
    low: int
    high: int
    help: str
    default: int | None = None
    usual: str = ""
    step: int = 1
    meanings: Mapping[int, str] = field(default_factory=dict)

    def of(self, policy: Policy, usual: int = 0) -> int:
        """What a policy says, or what holds where it says nothing: the default, or ``usual`` if there is none."""
        return policy.option(self.name, usual if self.default is None else self.default)

    def check(self, value: int) -> None:
        """Refuse a value.

        Raises:
            ConfigError: it is out of range.
        """
        if not self.low <= value <= self.high or value % self.step:
            unfit = "outside" if self.step == 1 else f"no multiple of {self.step} in"
            raise ConfigError(f"{self.name} is {value}, {unfit} [{self.low}, {self.high}]")

    @property
    def text(self) -> str:
        """The range, the default and what it is for, for people."""
        multiple = f", a multiple of {self.step}" if self.step > 1 else ""
        usual = self.usual if self.default is None else str(self.default)
        meanings = "".join(f"; {value}: {meaning}" for value, meaning in self.meanings.items())
        return f"{self.help}: {self.low} to {self.high}{multiple}; by default {usual}{meanings}"


NORM_RULES: Final = (
    OptionRule(
        NORM_EXCESS, 0, 1, "what clients do with longer updates", default=0, meanings={0: "scale them", 1: "stay out"}
    ),
    OptionRule(NORM_OUTSIDE, 0, MAX_OUTSIDE, "how many of the last arrays are not bounded", default=0),
    OptionRule(NORM_STEPS, 1, MAX_OPTION, "the norm bound, in steps of the grid", usual="none"),
)
"""Options of a norm bound, of every backend that bounds norms: see ``Policy.default``, which makes them."""


TREE_RULES: Final = (OptionRule(LEVEL, EDGE, TOP, "where in a tree rounds are", usual="in none", meanings=LEVEL_NAMES),)
"""Of every backend that can be in a tree."""


HALVES_RULES: Final = (
    OptionRule(
        HALVES, 0, 1, "whether each value goes as two numbers of half its bits", 0, meanings={0: "no", 1: "yes"}
    ),
)
"""Of every backend whose sums are read coordinate by coordinate, whatever these are."""


def check_options(policy: Policy, declared: Sequence[OptionRule]) -> None:
    """Refuse options that a policy's backend does not have, and values out of their range.

    Raises:
        ConfigError: names the option.
    """
    rules = {rule.name: rule for rule in declared}
    for option in policy.options:
        if isinstance(option.value, tuple):
            continue  # a policy looks at its groups itself, and ``Backend.check_policy`` at whether there may be any
        if option.name not in rules:
            known = f": it has {', '.join(rules)}" if rules else ": it has none"
            raise ConfigError(f"backend {policy.backend!r} has no option {option.name!r}{known}")
        rules[option.name].check(option.value)
