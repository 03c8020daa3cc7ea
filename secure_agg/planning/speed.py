"""How fast this machine is beside the one whose rounds were measured: a round is run, and its seconds compared."""

from __future__ import annotations

import datetime
import platform
import time
from pathlib import Path
from typing import Final

import numpy as np

from mpc import parallel
from secure_agg.local.aggregate import aggregate
from secure_agg.planning.coefficients import Coefficients
from secure_agg.planning.prediction import CLIENT, predict
from secure_agg.planning.setting import Setting
from secure_agg.protocol.config import Policy

_PARAMETERS: Final = 300_000
_CLIENTS: Final = 5
_BITS: Final = 16
_REPEAT: Final = 5


def here(coefficients: Coefficients) -> Coefficients:
    """The same, for this machine. Some seconds.

    What a round of the usual backend takes here, the least of some, is one factor for everything: a machine that is
    slow at one thing only is not told from one that is slow at all.

    Raises:
        ConfigError: the usual backend was not measured.
    """
    update = np.random.default_rng(0).standard_normal(_PARAMETERS, dtype=np.float32)
    updates = {f"client-{place:04d}": [update] for place in range(_CLIENTS)}
    found = []
    for _ in range(1 + _REPEAT):
        start = time.process_time()
        aggregate(updates, bits=_BITS)
        found.append(time.process_time() - start)
    expected = predict(Setting(Policy.default(_CLIENTS).backend, _PARAMETERS, _CLIENTS, _BITS), coefficients)
    everybody = sum((_CLIENTS if role == CLIENT else 1) * expected.processor(role) for role in expected.roles)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return coefficients.scaled(min(found[1:]) / everybody, _machine(), today)  # the first one compiles


def _machine() -> str:
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {parallel.cores()} cores, Python {platform.python_version()}"
