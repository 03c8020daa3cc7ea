"""Who carries questions to sites: ``Federation``, in one process or by a session of the service."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from secure_agg.errors import ConfigError, QueryRefused, VerificationError
from secure_agg.ledger.log import Ledger
from secure_agg.local.aggregate import aggregate
from secure_agg.privacy.accounting import EPSILON_UNIT
from secure_agg.privacy.asked import Privacy
from secure_agg.protocol.config import Group, Policy
from secure_agg.protocol.evidence import Evidence, RoundRecord
from secure_agg.stats.answers.forms import Form, form_of
from secure_agg.stats.answers.totals import Round, Total
from secure_agg.stats.query_log import QueryLog
from secure_agg.stats.question import Question
from secure_agg.stats.rules import Rules
from secure_agg.stats.site import Site
from secure_agg.stats.tables import Table
from secure_agg.tlog.receipt import Receipt

_BITS: Final = 24
_CLIP: Final = float(Group(name="answers", bits=_BITS).half)
"""A step is 1 then: integers are their own encodings."""
_OF_POLICIES: Final = ("backend", "bits", "dropout", "max_clients")
"""Options of ``aggregate`` that decide on noise, and on the room for it."""


class Federation(Protocol):
    """Sites that answer questions together. This is all that the statistics need of one."""

    def total(self, question: Question) -> Total:
        """The sums of all sites' answers, verified, of one secure round or of several.

        Raises:
            SecureAggError: no sum, or a site that has to answer here does not.
        """


class LocalFederation:
    """Sites in this process: all roles of every round are played here, as ``aggregate`` does."""

    def __init__(
        self,
        sites: Mapping[str, Any],
        *,
        rules: Rules | None = None,
        privacy: Privacy | None = None,
        ledger: str | PathLike[str] | Ledger | None = None,
        task: str = "statistics",
        min_clients: int = 3,
        **options: Any,
    ) -> None:
        """
        Args:
            sites: by their ids: data frames, mappings of arrays, ``Table``, or ``Site`` where one has rules of its own.
            rules: of the sites that have none; by default ``Rules()``, with a minimum of 5 records.
            privacy: of all that is ever asked of this task; needs a ledger, which keeps the account. Its ``norm`` is a
                unit that no answer depends on. By default what the ledger has pinned for the task, or none.
            ledger: a path or an open ledger that rounds are appended to.
            task: name of the rounds' task.
            min_clients: fewest sites whose sum is opened.
            options: of ``aggregate``: backend and its ``options``, executor, identities.

        Raises:
            ConfigError: fewer sites than ``min_clients``; privacy without a ledger; a table that is none.
        """
        if len(sites) < min_clients:
            raise ConfigError(f"{len(sites)} sites are fewer than min_clients, {min_clients}")
        if privacy is not None and ledger is None:
            raise ConfigError("privacy needs a ledger: without one every question would have the whole budget")
        self._sites = {
            name: site if isinstance(site, Site) else Site(Table.of(site), rules or Rules())
            for name, site in sites.items()
        }
        self._privacy, self._ledger, self._task = privacy, ledger, task
        self._min_clients, self._options = min_clients, options

    def total(self, question: Question) -> Total:
        """See ``Federation``.

        Raises:
            QueryRefused: a site does not answer; nothing was sent by any.
            ConfigError: a site has no such column, or it holds something else; nothing was sent by any. Or with
                privacy, nothing is left of the budget, or the question has no answer with noise: no site was asked.
        """
        policy, settings = self._policy()
        form = form_of(question, policy, len(self._sites))
        answers = {}
        for name, site in self._sites.items():
            try:
                answers[name] = form.answer(site)
            except QueryRefused as refused:
                raise QueryRefused(f"site {name!r} does not answer: {refused.args[0]}") from None
            except ConfigError as wrong:
                raise ConfigError(f"site {name!r} can't answer: {wrong.args[0]}") from None
        result = aggregate(
            {name: [values] for name, values in answers.items()},
            ledger=self._ledger,
            task=self._task,
            **(settings | self._options),
        )
        return form.total(result.average[0], (Round(result.evidence, result.record, result.receipt),))

    def _policy(self) -> tuple[Policy, dict[str, Any]]:
        """Of the next round, as far as answers depend on it, and what ``aggregate`` is told of it.

        Raises:
            ConfigError: there is to be noise, and nothing is left of the budget, or no policy has so much.
        """
        pinned, number = self._pinned()
        private = pinned if pinned is not None and pinned.privacy is not None else None
        if private is None and self._privacy is None:
            exact = {"bits": _BITS, "clip": _CLIP, "max_weight": 1, "max_error": 1.0}
            return Policy.default(3, bits=_BITS, clip=_CLIP), exact | {"min_clients": self._min_clients}
        if private is None:
            known = {name: self._options[name] for name in _OF_POLICIES if name in self._options}
            private = Policy.default(len(self._sites), privacy=self._privacy, min_clients=self._min_clients, **known)
        rule = private.privacy
        if rule is not None and number >= rule.rounds:
            raise ConfigError(
                f"the privacy budget is spent: epsilon = {rule.epsilon / EPSILON_UNIT:g} is for {rule.rounds} rounds, "
                f"and there were {number}: no site is asked"
            )
        return private, {"privacy": self._privacy, "min_clients": private.min_clients}

    def _pinned(self) -> tuple[Policy | None, int]:
        """What the ledger has pinned of the task, and the number of its next round."""
        if isinstance(self._ledger, Ledger):
            return _of_task(self._ledger, self._task)
        if self._ledger is None or not Path(self._ledger).exists():
            return None, 0
        with Ledger(self._ledger, read_only=True) as ledger:
            return _of_task(ledger, self._task)


def _of_task(ledger: Ledger, task: str) -> tuple[Policy | None, int]:
    pins, last = ledger.trust.tasks.get(task), ledger.last(task)
    return (pins.policy if pins else None), (last.round + 1 if last else 0)


class Contributed(Protocol):
    """What a member's session gives back: ``secure_agg.RoundResult``."""

    @property
    def average(self) -> Sequence[npt.NDArray[Any]]: ...
    @property
    def weight(self) -> int: ...
    @property
    def included(self) -> bool: ...
    @property
    def participants(self) -> tuple[str, ...]: ...
    @property
    def evidence(self) -> Evidence: ...
    @property
    def record(self) -> RoundRecord: ...
    @property
    def receipt(self) -> Receipt: ...


class Contributing(Protocol):
    """A member's session: ``secure_agg.Session``, or whatever carries rounds for a member as that does."""

    @property
    def policy(self) -> Policy: ...
    @property
    def members(self) -> tuple[str, ...]: ...

    def check_budget(self) -> None: ...
    def contribute(
        self, update: Callable[[list[npt.NDArray[Any]]], list[npt.NDArray[Any]]], *, about: str = ""
    ) -> Contributed: ...


class MemberFederation:
    """One site of a federation whose rounds a session carries. Every site asks the same questions, in the same order:
    each comes to the same results, and nobody is an analyst above the others.

    A vector of the federation's model is as long as its start model says, for example ``numpy.zeros(4096)``; a longer
    answer goes in several rounds, all with the same participants. With privacy it goes in one, of members that have
    all signed which question it is of: noise would hide that one of them answers another.
    """

    def __init__(self, session: Contributing, site: Site) -> None:
        """
        Args:
            session: from ``secure_agg.connect``, with a home that takes any model.
            site: this member's own.
        """
        self._session, self._site = session, site

    def total(self, question: Question) -> Total:
        """See ``Federation``.

        Raises:
            QueryRefused: this site does not answer: nothing was sent.
            BudgetSpent: nothing is left of this site's privacy budget; no data was looked at.
            WrongContext: with privacy, most other sites ask another question.
            VerificationError: the sites did not all ask this question, or were not the same in all rounds of it.
        """
        form = form_of(question, self._session.policy, len(self._session.members), shared=True)
        self._site.rules.check(question, self._session.policy.privacy)
        self._session.check_budget()
        if form.is_noisy:
            return self._in_one_round(form, question)
        update = form.answer(self._site)
        found, rounds = np.zeros(0), list[Round]()
        sites: tuple[str, ...] = ()
        while found.size < update.size:
            given = form.given(update[found.size :], first=not found.size)
            result = self._session.contribute(given.steps)
            if rounds and sites != result.participants:
                raise VerificationError("sites were not the same in all rounds of one answer: ask again")
            sites = _counted(result)
            found = np.concatenate([found, given.mean(result.average)])
            rounds.append(Round(result.evidence, result.record, result.receipt))
        return form.total(found[: update.size], tuple(rounds))

    def _in_one_round(self, form: Form, question: Question) -> Total:
        """The answer is computed when a round has asked for it that this site's budget is enough for."""

        def steps(model: list[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
            form.given(np.zeros(form.size)).steps(model)  # before any data is looked at
            return form.given(form.answer(self._site)).steps(model)

        result = self._session.contribute(steps, about=question.digest().hex())
        _counted(result)
        found = form.given(np.zeros(form.size)).mean(result.average)[: form.size]
        return form.total(found, (Round(result.evidence, result.record, result.receipt),))


def _counted(result: Contributed) -> tuple[str, ...]:
    """Whose answers a round has summed.

    Raises:
        VerificationError: not this site's, or one that counts more than once.
    """
    if result.weight != len(result.participants) or not result.included:
        raise VerificationError("this site is not in the round, or another had a weight above 1: ask again")
    return result.participants


def site_of(table: Any, rules: Path | None = None, log: Path | None = None) -> Site:
    """A site of a table, with rules and log in files of its owner's.

    Raises:
        ConfigError, StoreError: from what reads them.
    """
    return Site(Table.of(table), Rules.load(rules) if rules else Rules(), QueryLog(log))
