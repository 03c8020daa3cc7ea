"""Logs that hide what may be a key, and metrics that nobody outside can make longer."""

from __future__ import annotations

import base64
import json
import logging
import secrets

import pytest

from secure_agg.errors import TaskSpent
from secure_agg.protocol.identity import Identity
from secure_agg.service import logs
from secure_agg.service.monitor import OTHER, Monitor, error_label


def line(message: str, *given: object, **extra: object) -> dict[str, object]:
    record = logging.LogRecord("secure_agg.service", logging.WARNING, "", 1, message, given, None)
    record.__dict__.update(extra)
    text = logs.JsonLines().format(record)
    assert "\n" not in text
    assert text.isascii()
    found: dict[str, object] = json.loads(text)
    return found


def test_a_line_is_one_object_whatever_a_peer_writes() -> None:
    found = line("%s refuses", 'a"\n{"level": "info"}', task="t", member="ann", seconds=1.5)
    assert found["message"] == 'a"\n{"level": "info"} refuses'
    assert (found["level"], found["task"], found["member"], found["seconds"]) == ("warning", "t", "ann", 1.5)


@pytest.mark.parametrize("written", [bytes.hex, lambda key: base64.b64encode(key).decode()])
def test_what_may_be_a_key_is_hidden(written) -> None:  # type: ignore[no-untyped-def]
    key = written(secrets.token_bytes(32))
    found = line(f"seed {key}, and {key!r}", task=key)
    assert key not in json.dumps(found)
    assert found["message"] == f"seed {logs.HIDDEN}, and '{logs.HIDDEN}'"
    record = logging.LogRecord("secure_agg", logging.ERROR, "", 1, "failed", (), (ValueError, ValueError(key), None))
    assert key not in logs.JsonLines().format(record)


def test_what_people_read_is_shown() -> None:
    identity = Identity.generate("ann")
    shown = f"{identity!r}: round 3 of 'risk' is verified, digest {secrets.token_hex(8)}…"
    assert line(shown)["message"] == shown


def test_a_label_is_of_a_set_that_is_known() -> None:
    assert error_label("TaskSpent") == "TaskSpent"
    for other in ("Exception", "x" * 60, None, "SecureAggWarning"):
        assert error_label(other) == OTHER


def test_metrics_tell_phases_dropouts_and_refusals() -> None:
    monitor = Monitor()
    monitor.verified("t", {"masked-input_s": 2.0, "masked-input_bytes": 4096.0, "result_s": 0.5}, 3)
    monitor.failed("t", TaskSpent("no"))
    monitor.refused("t", "AnotherModel")
    monitor.refused("t", "made up by a member")
    monitor.dropped("t", "step", 2)
    monitor.took("t", 0.25)
    monitor.there("t", 4, 5, 3)
    monitor.answered("next", 204)
    text = monitor.text().decode()
    for wanted in (
        'secure_agg_rounds_total{outcome="verified",task="t"} 1.0',
        'secure_agg_rounds_total{outcome="TaskSpent",task="t"} 1.0',
        'secure_agg_phase_seconds_sum{phase="masked-input",task="t"} 2.0',
        'secure_agg_received_bytes_total{phase="masked-input",task="t"} 4096.0',
        'secure_agg_refusals_total{error="AnotherModel",task="t"} 1.0',
        'secure_agg_refusals_total{error="other",task="t"} 1.0',
        'secure_agg_dropouts_total{asked="step",task="t"} 2.0',
        'secure_agg_verification_seconds_sum{task="t"} 0.25',
        'secure_agg_members_present{task="t"} 4.0',
        'secure_agg_http_requests_total{route="next",status="204"} 1.0',
    ):
        assert wanted in text
    assert "made up" not in text
