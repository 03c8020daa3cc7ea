"""The policy of a task, which every party pins before its first round."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from secure_agg.arguments import check_fields, checked_class
from secure_agg.errors import ConfigError
from secure_agg.privacy.asked import Privacy
from secure_agg.protocol.config import norm as norms
from secure_agg.protocol.config import privacy as privacies
from secure_agg.protocol.config import thresholds
from secure_agg.protocol.config.buffer import BUFFER_HONEST, BUFFER_OPTIONS
from secure_agg.protocol.config.groups import GROUPS, Group, check_one_grid, check_within, most_bits, most_clip
from secure_agg.protocol.config.settings import (
    HALVES,
    LEVEL,
    MAX_BITS,
    MAX_CLIENTS,
    MAX_PARAMETERS,
    MAX_WEIGHT,
    MAX_WEIGHT_SCALE,
    MAX_WEIGHT_SPAN,
    USELESS_ERROR,
    fits,
    grid_step,
    real,
    whole,
    within,
)
from secure_agg.protocol.config.terms import Option, Terms
from secure_agg.protocol.habits import USUAL, habits
from secure_agg.protocol.identity import check_id
from secure_agg.protocol.messages import Wire
from secure_agg.protocol.ready import ready


def _fields(kind: type[Wire], document: Mapping[str, Any]) -> list[Any]:
    """The fields of one of a kind, in order.

    Raises:
        ConfigError: some are missing, or unknown.
    """
    names = kind.__struct_fields__
    for what, found in (("unknown", set(document) - set(names)), ("no", set(names) - set(document))):
        if found:
            raise ConfigError(f"a {kind.__name__.lower()} has {what} field {min(found)!r}")
    return [document[name] for name in names]


@checked_class
class Policy(Terms, frozen=True, kw_only=True):
    """What every party agrees on before the first round, and pins: terms that fit together.

    ``Policy.default`` fills in the thresholds; building one by hand is for tests and for resuming from a file.
    """

    def __post_init__(self) -> None:
        check_fields(self)
        check_id(self.backend)
        names = [option.name for option in self.options]
        if names != sorted(set(names)):
            raise ConfigError(f"backend options {names} are not in order, each once")
        within("bits", self.bits, 2, MAX_BITS)
        if self.halves > 1:
            within("bits, where values go as halves,", self.bits, 4, MAX_BITS)
        if not isinstance(self.commit_packed, bool):
            raise ConfigError(f"commit_packed is {self.commit_packed!r}, neither True nor False")
        within("max_weight", self.max_weight, 1, MAX_WEIGHT)
        within("max_parameters", self.max_parameters, 1, MAX_PARAMETERS)
        for name in ("max_clients", "min_clients", "min_advertised", "max_corrupt", "cohort_size"):
            within(name, getattr(self, name), 0, MAX_CLIENTS)
        if not isinstance(self.clip, float) or not (math.isfinite(self.clip) and 1e-30 <= self.clip <= 1e30):
            raise ConfigError(f"clip is {self.clip!r}, not a float between 1e-30 and 1e30")
        if not isinstance(self.max_error, float) or not (math.isfinite(self.max_error) and self.max_error > 0):
            raise ConfigError(f"max_error is {self.max_error!r}, not a float above 0")
        if self.groups:
            if self.privacy is not None:
                raise ConfigError(
                    "privacy takes an update as one vector, whose norm is bounded and in which every value has noise: "
                    f"what is in groups ({', '.join(group.name for group in self.groups)}) would have a sensitivity "
                    "each; a task of its own for each would do"
                )
            check_within(self.groups, self.bits, self.clip)
            if self.halves > 1:
                raise ConfigError(f"{HALVES} goes with no groups: each has bits of its own, take fewer where they are")
        elif any(option.name == GROUPS for option in self.options):
            raise ConfigError(f"option {GROUPS} names no group: leave it out")
        self._check_weights()
        self._check_thresholds()

    def _check_weights(self) -> None:
        if self.weight_scale:
            within("weight_scale", self.weight_scale, 1, MAX_WEIGHT_SCALE)
            within("weight_span", self.weight_span, 1, MAX_WEIGHT_SPAN)
            within("first_weight", self.first_weight, 1, self.max_weight)
        else:
            for name in ("weight_scale", "weight_span", "first_weight"):
                within(f"{name}, without a weight_scale,", getattr(self, name), 0, 0)

    def _check_thresholds(self) -> None:
        if self.min_clients < 2:
            raise ConfigError(
                f"min_clients is {self.min_clients}: the sum of fewer than 2 updates is somebody's update"
            )
        if not self.min_clients <= self.min_advertised <= self.max_clients:
            raise ConfigError(
                f"min_advertised is {self.min_advertised}, outside [min_clients, max_clients] = "
                f"[{self.min_clients}, {self.max_clients}]"
            )
        if (rule := self.buffer) is not None:
            rule.check(self.min_clients, self.max_corrupt, self.cohort_size)
        elif spare := [option.name for option in self.options if option.name in BUFFER_OPTIONS]:
            raise ConfigError(f"{spare[0]} goes with {BUFFER_HONEST}: without it no rounds are buffered")
        elif not 0 <= 3 * self.max_corrupt < self.min_advertised:
            raise ConfigError(
                f"min_advertised {self.min_advertised} must exceed 3 · max_corrupt = {3 * self.max_corrupt}"
            )
        if self.cohort_size and not self.min_advertised <= self.cohort_size <= self.max_clients:
            raise ConfigError(f"cohort_size {self.cohort_size} is outside [{self.min_advertised}, {self.max_clients}]")
        self._check_norm()
        self._check_privacy()

    def _check_privacy(self) -> None:
        """Refuse settings under which noise would not hide what it is there for."""
        rule = self.privacy
        if rule is None:
            return
        rule.check(self.max_clients)
        if self.max_weight != 1 or self.weight_scale:
            raise ConfigError(
                f"privacy counts every client alike, and weights up to {self.max_weight} would be summed without "
                "noise: max_weight = 1, without a weight_scale, would do"
            )
        if self.option(LEVEL, 0):
            raise ConfigError("a tree has no differential privacy: an edge's operator sees a sum of few clients' noise")
        if self.buffer is not None:
            raise ConfigError(
                "no buffered round has differential privacy: what its clients have spent isn't counted before they "
                "send; rounds whose clients train from one model would do"
            )
        if self.halves > 1:
            raise ConfigError(
                "privacy takes values in one piece: the sum of their lower halves tells more than their own does; "
                "fewer bits would do"
            )
        if self.norm is not None:
            raise ConfigError(
                "a norm bound and privacy exclude each other: with its noise an honest client's vector is "
                f"{rule.local_noise(1000):.3g} clips long in a model of 1,000 values, and "
                f"{rule.local_noise(10**6):.4g} in one of 1,000,000, so a bound that lets it pass bounds no attacker"
            )
        least = privacies.most_honest(self.min_clients, self.quorum(self.max_clients), self.max_corrupt)
        if rule.honest > least:
            raise ConfigError(
                f"{privacies.HONEST} is {rule.honest}, and of a sum no more than {least} clients are known to be honest"
            )

    def _check_norm(self) -> None:
        """Refuse a norm bound under which some round of the task could not be."""
        rule = self.norm
        if rule is None:
            spare = [option.name for option in self.options if option.name in norms.NORM_OPTIONS]
            if spare:
                raise ConfigError(f"{spare[0]} goes with {norms.NORM_STEPS}: without it no norm is bounded")
            return
        within(norms.NORM_EXCESS, self.option(norms.NORM_EXCESS, 0), 0, len(norms.EXCESSES) - 1)
        within(norms.NORM_OUTSIDE, rule.outside, 0, norms.MAX_OUTSIDE)
        # A weight limit that follows from weights has to be one that a bound takes; one that is named is looked at
        # when a round is configured.
        self.norm_bound(self.max_weight if self.weight_scale else 1)
        check_one_grid(self.vectors)
        if self.groups and rule.outside:
            raise ConfigError(f"{norms.NORM_OUTSIDE} goes with no groups: those that are not weighted are outside")

    @staticmethod
    def default(
        clients: int,
        *,
        backend: str = USUAL,
        options: tuple[Option, ...] = (),
        clip: float = 8.0,
        bits: int | None = None,
        commit_packed: bool | None = None,
        max_error: float | None = None,
        max_weight: int = 1,
        weight_scale: int = 0,
        weight_span: int | None = None,
        first_weight: int | None = None,
        min_clients: int = 3,
        max_clients: int | None = None,
        cohort_size: int = 0,
        corruption_rate: float | None = None,
        dropout: float = thresholds.USUAL_DROPOUT,
        max_parameters: int = 1 << 30,
        norm_bound: float | None = None,
        norm_excess: str = norms.SCALE,
        norm_outside: int = 0,
        groups: Iterable[Group] = (),
        privacy: Privacy | None = None,
    ) -> Policy:
        """The policy for a roster of ``clients`` members, thresholds by the protocol's defaults.

        Args:
            clients: members of the roster.
            bits: per value; by default as many as cost this backend nothing, see ``Backend.usual_bits``. Where sums of
                so many would be too wide, and the backend can, values go as two halves (option ``halves``).
            commit_packed: by default what the backend says that it gains from.
            max_error: by default ``USELESS_ERROR`` clips, or more where few bits are asked for: whoever names bits gets
                them.
            weight_span: with a weight scale 64 by default.
            first_weight: with a weight scale ``max_weight`` by default.
            cohort_size: members drawn per round by a public beacon; 0 takes all.
            corruption_rate: share of the roster that may be corrupt; only for a drawn cohort, where f is
                then the most corrupt members that it holds except with probability 2^-60. For a whole
                roster f is the most that ``dropout`` leaves.
            dropout: share of a round's cohort, above 0 and at most 0.5, without which it still ends. The more may be
                missing the fewer may be corrupt: see ``bearable``. Of clients that are missing from the beginning any
                setting holds; where clients mask with some others only, later dropouts are borne up to a tenth.
            norm_bound: B: every update's L2 norm, after clipping, is at most B · weight / weight limit before it is
                multiplied with anything, which the client proves; its share of the mean is then within the share of its
                weight. None bounds nothing. Options that the backend then has are on unless they are named: see
                ``Habits.when_bounded``.
            norm_excess: what an honest client does whose update is longer: ``scale`` makes it as long as it may be,
                ``refuse`` keeps it out of the round.
            norm_outside: how many of the last arrays are not bounded.
            groups: the named vectors of an update, in any order. ``clip`` and ``bits`` then follow from them.
            privacy: differential privacy of the task's results: clients add noise to their vectors. ``clip`` is then
                its norm, and all weights are 1.

        Raises:
            ConfigError: a setting is out of range, or a drawn cohort is too small to be safe; names the smallest that
                is.
        """
        clients = whole("clients", clients, 0, MAX_CLIENTS)
        min_clients = whole("min_clients", min_clients, 2, MAX_CLIENTS)
        cohort_size = whole("cohort_size", cohort_size, 0, MAX_CLIENTS)
        clip, max_weight = real("clip", clip), whole("max_weight", max_weight, 1, MAX_WEIGHT)
        weight_scale = whole("weight_scale", weight_scale, 0, MAX_WEIGHT_SCALE)
        if not weight_scale and (weight_span or first_weight):
            raise ConfigError("weight_span and first_weight go with a weight_scale: without one weights are kept")
        if weight_scale:
            weight_span = whole("weight_span", 64 if weight_span is None else weight_span, 1, MAX_WEIGHT_SPAN)
            first_weight = whole("first_weight", first_weight or max_weight, 1, max_weight)
        cohort = cohort_size or clients
        if cohort < min_clients:
            raise ConfigError(f"{cohort} clients are fewer than min_clients = {min_clients}")
        dropout = thresholds.check_dropout(dropout)
        min_advertised = thresholds.least_advertised(cohort, min_clients, dropout)
        if cohort_size:
            if cohort_size > clients:
                raise ConfigError(f"a cohort of {cohort_size} can't be drawn from {clients} members")
            if corruption_rate is None:
                raise ConfigError(
                    "a drawn cohort needs a corruption_rate: the share of all members that may be corrupt"
                )
            max_corrupt = thresholds.drawn_corrupt(
                clients, corruption_rate, cohort_size, min_clients=min_clients, dropout=dropout
            )
        elif corruption_rate is not None:
            raise ConfigError("a corruption_rate goes with a cohort_size: f of a whole roster follows from its size")
        else:
            max_corrupt = thresholds.most_corrupt(cohort, min_advertised)
        most = cohort if max_clients is None else whole("max_clients", max_clients, 0, MAX_CLIENTS)
        named_groups = tuple(sorted(groups, key=lambda group: group.name.encode()))
        if named_groups:
            if bits not in (None, most_bits(named_groups)):
                raise ConfigError(f"bits is {bits}: where there are groups each has its own")
            bits, clip = most_bits(named_groups), most_clip(named_groups)
            options = Option.list({option.name: option.value for option in options} | {GROUPS: named_groups})
        width = habits(backend).usual_bits(most) if bits is None else whole("bits", bits, 2, MAX_BITS)
        if norm_bound is not None:
            norm_bound = real("norm_bound", norm_bound)
            if not (math.isfinite(norm_bound) and norm_bound > 0):
                raise ConfigError(f"norm_bound is {norm_bound:g}, not above 0")
            if norm_excess not in norms.EXCESSES:
                raise ConfigError(f"norm_excess is {norm_excess!r}, neither 'scale' nor 'refuse'")
            if bits is None:
                width = norms.bits_for(most, norm_bound, clip, width)
            given = {option.name: option.value for option in options if option.name not in norms.NORM_OPTIONS}
            named = dict(habits(backend).when_bounded) | given
            main = next((group for group in named_groups if group.weighted), None)
            grid = (main.clip, main.bits) if main else (clip, width)
            named[norms.NORM_STEPS] = norms.steps_of(norm_bound, *grid, most)
            named[norms.NORM_EXCESS] = norms.EXCESSES.index(norm_excess)
            named[norms.NORM_OUTSIDE] = whole("norm_outside", norm_outside, 0, norms.MAX_OUTSIDE)
            options = Option.list(named)
        if privacy is not None:
            clip, max_weight = real("privacy: norm", privacy.norm), 1
            signs = thresholds.quorum(cohort, max_corrupt) if habits(backend).clients_sign else 0
            known = privacies.most_honest(min_clients, signs, max_corrupt)
            given = {option.name: option.value for option in options}
            options = Option.list(given | privacies.options_of(privacy, known, min_clients, max_corrupt))
        elif bits is not None and norm_bound is None and not fits(width, most) and fits(-(-width // 2), most):
            named = {option.name: option.value for option in options}
            if habits(backend).halves and HALVES not in named and not named_groups:
                options = Option.list(named | {HALVES: 1})
        if max_error is None:
            # Whoever names bits gets them, with the bound stated.
            steps = [(group.step, group.weighted) for group in named_groups if group.half]
            steps = steps or [(grid_step(clip, width), True)]
            asked = max(step * (max_weight if weighted else 1) for step, weighted in steps) if bits is not None else 0.0
            max_error = max(USELESS_ERROR * clip, asked)
        return Policy(
            backend=backend,
            options=options,
            clip=clip,
            bits=width,
            commit_packed=habits(backend).commits_packed if commit_packed is None else commit_packed,
            max_error=real("max_error", max_error),
            max_weight=max_weight,
            weight_scale=weight_scale,
            weight_span=weight_span or 0,
            first_weight=first_weight or 0,
            cohort_size=cohort_size,
            max_clients=most,
            min_clients=min_clients,
            min_advertised=min_advertised,
            max_corrupt=max_corrupt,
            max_parameters=whole("max_parameters", max_parameters, 1, MAX_PARAMETERS),
        )

    def document(self) -> dict[str, Any]:
        """Every field by its name, options by theirs: as JSON has it."""
        options = {
            option.name: [{name: getattr(group, name) for name in Group.__struct_fields__} for group in option.value]
            if isinstance(option.value, tuple)
            else option.value
            for option in self.options
        }
        return {name: getattr(self, name) for name in self.__struct_fields__ if name != "options"} | {
            "options": options
        }

    @staticmethod
    def from_document(document: Mapping[str, Any]) -> Policy:
        """Read what ``document`` gives.

        Raises:
            ValueError: fields are missing or unknown, of another type, or refused by the validation.
        """
        options = [
            [name, [_fields(Group, group) for group in value] if name == GROUPS else value]
            for name, value in sorted(document["options"].items())
        ]
        return msgspec.convert(_fields(Policy, {**document, "options": options}), ready(Policy))
