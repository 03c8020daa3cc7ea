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
from secure_agg.privacy.asked import Privacy
from secure_agg.protocol.codec.private import PrivateCodec
from secure_agg.protocol.config import Group, Policy
from secure_agg.protocol.evidence import Evidence, RoundRecord
from secure_agg.stats.answers import Coordinates, Given, Round, Shares, Total
from secure_agg.stats.query_log import QueryLog
from secure_agg.stats.question import Question
from secure_agg.stats.rules import Rules
from secure_agg.stats.site import Site
from secure_agg.stats.tables import Table
from secure_agg.tlog.receipt import Receipt

_BITS: Final = 24
_CLIP: Final = float(Group(name="answers", bits=_BITS).half)
"""A step is 1 then: integers are their own encodings."""


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
            privacy: of all that is ever asked of this task, in the units of ``answers.Shares``; needs a ledger, which
                keeps the account.
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
        if privacy is None:
            options = {"bits": _BITS, "clip": _CLIP, "max_weight": 1, "max_error": 1.0} | options
        self._sites = {
            name: site if isinstance(site, Site) else Site(Table.of(site), rules or Rules())
            for name, site in sites.items()
        }
        self._privacy = privacy
        self._asked = {"ledger": ledger, "task": task, "min_clients": min_clients, "privacy": privacy} | options

    def total(self, question: Question) -> Total:
        """See ``Federation``.

        Raises:
            QueryRefused: a site does not answer; nothing was sent by any.
        """
        form = Shares(question) if self._privacy else Coordinates(question, _local_policy())
        answers = {}
        for name, site in self._sites.items():
            try:
                answers[name] = site.answer(question)
            except QueryRefused as refused:
                raise QueryRefused(f"site {name!r} does not answer: {refused.args[0]}") from None
        result = aggregate({name: [form.update_of(values)] for name, values in answers.items()}, **self._asked)
        proof = Round(result.evidence, result.record, result.receipt)
        mean, count = result.average[0], len(result.participants)
        if isinstance(form, Shares):
            noise = PrivateCodec(result.evidence.config).deviation(count)
            values, deviations = form.total_of(mean, noise, count)
            return Total(values, deviations, result.participants, (proof,))
        return Total(form.total_of(mean, count), (), result.participants, (proof,))


def _local_policy() -> Policy:
    return Policy.default(3, bits=_BITS, clip=_CLIP)


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

    def contribute(self, update: Callable[[list[npt.NDArray[Any]]], list[npt.NDArray[Any]]]) -> Contributed: ...


class MemberFederation:
    """One site of a federation whose rounds a session carries. Every site asks the same questions, in the same order:
    each comes to the same results, and nobody is an analyst above the others.

    A vector of the federation's model is as long as its start model says, for example ``numpy.zeros(4096)``; a longer
    answer goes in several rounds, all with the same participants.
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
            VerificationError: the sites did not all ask this question, or were not the same in all rounds of it.
        """
        form = Coordinates(question, self._session.policy, shared=True)
        update = form.update_of(self._site.answer(question))
        found, rounds = np.zeros(0), list[Round]()
        sites: tuple[str, ...] = ()
        while found.size < update.size:
            given = Given(form, update[found.size :], first=not found.size)
            result = self._session.contribute(given.steps)
            if rounds and sites != result.participants:
                raise VerificationError("sites were not the same in all rounds of one answer: ask again")
            if result.weight != len(result.participants) or not result.included:
                raise VerificationError("this site is not in the round, or another had a weight above 1: ask again")
            sites = result.participants
            found = np.concatenate([found, given.mean(result.average)])
            rounds.append(Round(result.evidence, result.record, result.receipt))
        return Total(form.total_of(found[: update.size], len(sites)), (), sites, tuple(rounds))


def site_of(table: Any, rules: Path | None = None, log: Path | None = None) -> Site:
    """A site of a table, with rules and log in files of its owner's.

    Raises:
        ConfigError, StoreError: from what reads them.
    """
    return Site(Table.of(table), Rules.load(rules) if rules else Rules(), QueryLog(log))
