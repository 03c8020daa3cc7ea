"""The library's log: a line for each phase at INFO, and nobody's terminal is written to unasked."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from typing import Final

import numpy as np
import pytest

import secure_agg

CLIENTS: Final = ("ann", "bob", "cyd")


def test_the_library_logs_a_line_for_each_phase(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "secure_agg")
    result = secure_agg.aggregate({name: [np.ones(3)] for name in CLIENTS}, task="lungs")
    phases = [name.removeprefix("aggregator.").removesuffix("_s") for name in result.stats if "aggregator." in name]
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    found = [line for line in said if re.search(r"phase [a-z-]+ is over, 3 of 3 have answered", line)]
    for phase in ("advertise", "share-keys", "masked-input", "unmask"):
        assert phase in phases
        assert sum(f"phase {phase} is over" in line for line in found) == 1
    assert all("'lungs'" in line for line in found)


def test_an_aborted_round_is_logged_with_its_phase_and_nothing_of_its_data(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(secure_agg.SecureAggError):
        secure_agg.aggregate({name: [np.ones(3)] for name in CLIENTS}, dropouts={"ann": "masked-input"})
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [line for line in said if "aborted in phase masked-input: TooFewClients" in line]


def test_the_library_installs_no_handlers_but_the_one_that_does_nothing() -> None:
    program = """
import logging, numpy, secure_agg
log = logging.getLogger("secure_agg")
assert [type(each) for each in log.handlers] == [logging.NullHandler], log.handlers
assert (log.level, log.propagate, logging.getLogger().handlers) == (logging.NOTSET, True, [])
try:
    secure_agg.aggregate({name: [numpy.ones(3)] for name in "abc"}, dropouts={"a": "masked-input"})
except secure_agg.SecureAggError:
    pass
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
