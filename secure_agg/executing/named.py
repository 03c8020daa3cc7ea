"""Executors by their names, as options and commands give them."""

from __future__ import annotations

import re
from typing import Final

from secure_agg.errors import ConfigError
from secure_agg.executing.executor import IN_PROCESS, Executor
from secure_agg.executing.on_ray import Ray
from secure_agg.executing.processes import Processes

HERE: Final = "in-process"
NAMES: Final = f"{HERE}, processes, processes:N, ray or ray:N"


def executor_of(text: str) -> Executor:
    """An executor by its name: ``in-process``, ``processes``, ``processes:4``, ``ray``, ``ray:4``. Whoever asks for one
    closes it.

    Raises:
        ConfigError: it is none of these, or what it needs is not installed.
    """
    found = re.fullmatch(r"(in-process|processes|ray)(?::([1-9][0-9]{0,3}))?", text)
    if found is None or (found[1] == HERE and found[2]):
        raise ConfigError(f"{text!r:.80} is no executor: {NAMES}")
    workers = int(found[2]) if found[2] else None
    if found[1] == HERE:
        return IN_PROCESS
    return Processes(workers) if found[1] == "processes" else Ray(workers)
