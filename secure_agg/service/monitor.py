"""What a service counts, in Prometheus' format, and whether it is well.

Labels are of sets that nobody outside can make longer: a member's word for an error counts as such only where it is the
name of one of ours. Members are not named: who scrapes learns how many there are.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from secure_agg import errors
from secure_agg.plugins.core import parcels

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

OTHER: Final = "other"
_ERRORS: Final = frozenset(
    name for name, found in inspect.getmembers(errors, inspect.isclass) if issubclass(found, errors.SecureAggError)
)
_KINDS: Final = frozenset(
    {parcels.HELLO, parcels.JOIN, parcels.STEP, parcels.RESULT, parcels.LEARN, parcels.EPOCH, parcels.CLOSE}
    | {parcels.RENOUNCE}
)
_SECONDS: Final = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)


def error_label(name: str | None) -> str:
    """The name of an error, if it is one of ours."""
    return name if name in _ERRORS else OTHER


class Monitor:
    """One service's counters; prometheus-client is imported here."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry: CollectorRegistry = CollectorRegistry()
        of: dict[str, Any] = {"registry": self.registry, "namespace": "secure_agg"}
        self._rounds = Counter("rounds", "Rounds that have ended.", ["task", "outcome"], **of)
        self._phases = Histogram("phase_seconds", "Of verified rounds.", ["task", "phase"], buckets=_SECONDS, **of)
        self._bytes = Counter("received_bytes", "From members, in verified rounds.", ["task", "phase"], **of)
        self._verification = Histogram(
            "verification_seconds", "Opening, verifying and recording a sum.", ["task"], buckets=_SECONDS, **of
        )
        self._dropouts = Counter("dropouts", "Members that have not answered in time.", ["task", "asked"], **of)
        self._refusals = Counter("refusals", "Payloads that members have refused.", ["task", "error"], **of)
        self._present = Gauge("members_present", "Members that are connected.", ["task"], **of)
        self._members = Gauge("members", "Members of the roster in force.", ["task"], **of)
        self._records = Gauge("verified_rounds", "Results of the task in the ledger.", ["task"], **of)
        self._requests = Counter("http_requests", "Requests answered.", ["route", "status"], **of)
        self._refused = Counter("http_refused", "Requests refused.", ["error"], **of)

    def verified(self, task: str, stats: Mapping[str, float], records: int) -> None:
        """A round is in the ledger."""
        self._rounds.labels(task, "verified").inc()
        self._records.labels(task).set(records)
        for name, value in stats.items():
            phase, _, unit = name.rpartition("_")
            if unit == "s":
                self._phases.labels(task, phase).observe(value)
            elif unit == "bytes":
                self._bytes.labels(task, phase).inc(value)

    def failed(self, task: str, error: Exception) -> None:
        """A round has come to nothing."""
        self._rounds.labels(task, error_label(type(error).__name__)).inc()

    def took(self, task: str, seconds: float) -> None:
        """A sum was opened, verified and recorded."""
        self._verification.labels(task).observe(seconds)

    def dropped(self, task: str, kind: str, members: int) -> None:
        """Members have not answered a kind of payload in time."""
        self._dropouts.labels(task, kind if kind in _KINDS else OTHER).inc(members)

    def refused(self, task: str, error: str | None) -> None:
        """A member has refused a payload."""
        self._refusals.labels(task, error_label(error)).inc()

    def there(self, task: str, present: int, members: int, records: int) -> None:
        """Who is there, and what the ledger has."""
        self._present.labels(task).set(present)
        self._members.labels(task).set(members)
        self._records.labels(task).set(records)

    def answered(self, route: str, status: int) -> None:
        """A request was answered; ``route`` is one of the service's own."""
        self._requests.labels(route, str(status)).inc()

    def turned_away(self, error: str) -> None:
        """A request was refused, with an error of this name."""
        self._refused.labels(error_label(error)).inc()

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)
