"""Whom a statistic is asked of: files, each a site in this process, or the members of a service."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secure_agg.errors import ConfigError
from secure_agg.privacy.asked import Privacy
from secure_agg.service.session import connect
from secure_agg.stats import Federation, LocalFederation, MemberFederation, PrivacyLimit, Rules, Table, site_of
from secure_agg.stats.rules import DEFAULT_MIN_COUNT

_LEAST: Final = 3
"""Sites in one process: of two each knows the other's part."""


@dataclass(frozen=True)
class Sites:
    """What a command line says of sites.

    Attributes:
        files: CSV files: one of each site, or with ``url`` this member's own.
        url, home: of a service, and this member's home.
        rules, log: files of the owner's.
        min_count: where there is no file of rules.
        ledger, task: where rounds in this process are appended.
        privacy: of these rounds; with ``url`` the largest budget that the home may have pinned.
    """

    files: Sequence[Path]
    url: str | None
    home: Path | None
    rules: Path | None
    log: Path | None
    min_count: int | None
    ledger: Path | None
    task: str
    privacy: Privacy | None = None

    @property
    def owner(self) -> Rules:
        """What owners allow.

        Raises:
            ConfigError: it is said twice, or can't be read.
        """
        if self.rules is None:
            return Rules(min_count=DEFAULT_MIN_COUNT if self.min_count is None else self.min_count)
        if self.min_count is not None:
            raise ConfigError("--rules has the min_count: leave out --min-count")
        return Rules.load(self.rules)

    @contextmanager
    def opened(self) -> Iterator[Federation]:
        """The federation.

        Raises:
            ConfigError: options don't go together; files that are none.
        """
        if (self.url is None) != (self.home is None):
            raise ConfigError("--url and --home go together: a member of a service")
        tables = [Table.read_csv(path) for path in self.files]
        if self.url is not None and self.home is not None:
            if len(tables) != 1 or self.ledger is not None:
                raise ConfigError("a member of a service has one file, and the service has the ledger")
            if self.rules is None:
                raise ConfigError("a member answers by its owner's rules: name their file by --rules")
            site = site_of(tables[0], self.rules, self.log or self.home / "statistics.log")
            with connect(self.url, self.home) as session:
                if self.privacy is not None:
                    PrivacyLimit(epsilon=self.privacy.epsilon, delta=self.privacy.delta).check(session.policy.privacy)
                yield MemberFederation(session, site)
            return
        if self.log is not None:
            raise ConfigError("--log is of one site: with --url")
        if len(tables) < _LEAST:
            raise ConfigError(
                f"{len(tables)} of the sites' tables: without --url each file is a site of its own, and of fewer than "
                f"{_LEAST} sites each would know another's sums. Name {_LEAST} files or more; or, to ask together with "
                "others who have theirs, --url and --home"
            )
        names = [path.stem for path in self.files]
        if len(set(names)) != len(names):
            raise ConfigError(f"sites have different names, those of their files: {', '.join(names)}")
        yield LocalFederation(
            dict(zip(names, tables, strict=True)),
            rules=self.owner,
            ledger=self.ledger,
            task=self.task,
            min_clients=len(tables) if self.privacy else _LEAST,
            privacy=self.privacy,
        )
