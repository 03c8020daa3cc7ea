"""Many members of one federation in a process, a thread each: ``python -m benchmarks.service.members URL FOLDER …``.

It prints, as JSON, when each member has verified each result, POSIX time in seconds.
"""

from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

import secure_agg


def take_part(url: str, home: Path, params: int, rounds: int) -> list[float]:
    """One member's rounds: when each result was verified."""
    update = [np.full(params, 0.01, np.float32)]
    ended = []
    with secure_agg.connect(url, home) as session:
        for _ in range(rounds):
            session.contribute(update)
            ended.append(time.time())
    return ended


def main(arguments: list[str]) -> None:
    """``URL FOLDER PARAMS ROUNDS NAME …``"""
    url, folder, params, rounds, *names = arguments
    with ThreadPoolExecutor(len(names)) as pool:
        running = [pool.submit(take_part, url, Path(folder) / name, int(params), int(rounds)) for name in names]
        json.dump([each.result() for each in running], sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
