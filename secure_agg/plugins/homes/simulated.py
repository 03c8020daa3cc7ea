"""Homes of a simulation: a federation that is made for one run, on one machine, and is worth nothing beyond it.

A framework's simulator runs all parties as one user on one machine. Homes that real parties would make, each its own,
are then nobody's protection from anybody, so they may as well be made when the run begins. What is said about them is
said once, where whoever runs the simulation reads.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from secure_agg import backends, files, locks
from secure_agg.errors import ConfigError
from secure_agg.fl.server_optimizers import PLAIN, ServerOptimizer
from secure_agg.plugins.homes import federation, tenants
from secure_agg.plugins.homes.folder import locked_by
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.config import Policy

TASK: Final = "simulation"
CLIP: Final = 1.0
MAX_WEIGHT: Final = 1000
"""What ``federation init`` takes too."""
KEPT: Final = 3
"""Simulations whose folders stay, to be audited; older ones go when another begins."""
FEWEST: Final = 3
"""Members of whom none learns another's update from the sum, with what it knows of its own."""
NOTICE_FILE: Final = "SIMULATION"

_log = logging.getLogger("secure_agg.plugins")


def members(names: Sequence[str]) -> str:
    """How many they are, in words."""
    return f"{len(names)} member{'' if len(names) == 1 else 's'}"


def make(
    root: Path,
    run: str,
    names: Sequence[str],
    *,
    like: Path | None = None,
    policy: Mapping[str, Any] | None = None,
    start_model: bytes | None = None,
    optimizer: ServerOptimizer = PLAIN,
    weight_key: str | None = None,
    checks_model: bool = True,
) -> Path:
    """Make the homes of a simulated run, unless they are there; and remove those of old ones.

    Args:
        root: of all simulations of this user.
        run: the name of this one's folder.
        names: of the members.
        like: a server's home that is meant to be used with real nodes; where it is there, its policy is simulated.
        policy: what ``Policy.default`` is to be told beside; counts more than ``like``.
        start_model, optimizer, weight_key, checks_model: see ``ClientHome``.

    Returns:
        The federation's folder: ``server`` and ``clients/<name>`` in it.

    Raises:
        ConfigError: fewer than two members, the policy does not fit, ``root`` is not this user's alone, or the disk
            refuses.
    """
    folder = root / run
    with files.failing(root):
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
    check_own(root)
    with locked_by(root / "lock"):
        if folder.exists():
            return folder
        clear(root, KEPT - 1)
        chosen = _policy(len(names), like, dict(policy or {}))
        federation.make(
            folder,
            names,
            chosen,
            task=TASK,
            start_model=start_model,
            optimizer=optimizer,
            weight_key=weight_key,
            checks_model=checks_model,
        )
        notice = warning(folder, names)
        files.create(folder / NOTICE_FILE, notice.encode() + b"\n")
    _log.warning("%s", notice)
    return folder


def check_own(root: Path) -> None:
    """Refuse the folder of all simulations where it is not this user's alone. Its place is known, and may be below one
    that everybody writes to: whoever has made it before could put homes of its own in place of those that are made.

    Raises:
        ConfigError: it is another's, or others can write to it.
    """
    with files.failing(root):
        link, about = root.lstat(), root.stat()
    if {link.st_uid, about.st_uid} != {os.geteuid()}:
        raise ConfigError(f"{root} is another user's: simulations are made in a folder of one's own")
    if about.st_mode & 0o022:
        raise ConfigError(f"others can write to the folder {root}: chmod 700 it")


def warning(folder: Path, names: Sequence[str]) -> str:
    """What a simulated federation is worth."""
    few = "" if len(names) >= FEWEST else ", and of two members each reads the other's update off the sum"
    return (
        f"SIMULATION: the keys of the server and of all {members(names)} were made for this run, on this machine, in "
        f"{folder}. The protocol is the real one, and it protects nobody here: whoever runs this has every key{few}. "
        "In a federation each party makes a home of its own: docs/three-machines.md"
    )


def clear(root: Path, kept: int) -> None:
    """Remove the folders of all but the newest simulations; none whose run goes on."""
    found = [path for path in root.iterdir() if (path / NOTICE_FILE).is_file()]
    found.sort(key=lambda path: (path / NOTICE_FILE).stat().st_mtime, reverse=True)
    for old in found[kept:]:
        held = tenants.held_file(old / "server")
        with contextlib.suppress(OSError):
            descriptor = os.open(held, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                if locks.hold_at_once(descriptor):
                    shutil.rmtree(old)
            finally:
                os.close(descriptor)


def _policy(count: int, like: Path | None, given: dict[str, Any]) -> Policy:
    """What is simulated: what is given, or a home's own policy, or else the usual one."""
    if count < 2:
        raise ConfigError(f"a simulation of {count} nodes sums nothing up: at least two have to take part")
    if not given and like is not None and like.is_dir():
        with ServerHome.open(like) as home:
            policy = home.trust.task(home.task).policy
            size = len(home.trust.task(home.task).roster)
        alone = not backends.load(policy.backend).seats(policy).count and not policy.cohort_size
        if size == count and alone:
            _log.info("the policy of %s is simulated", like)
            return policy
        _log.warning(
            "%s is of %d members%s: of its policy clip and largest weight are simulated, with %d nodes",
            like, size, "" if alone else ", with operators or draws", count,
        )  # fmt: skip
        given = {"clip": policy.clip, "max_weight": policy.max_weight}
    fewest = {"min_clients": min(FEWEST, count)}
    return Policy.default(count, **(fewest | {"clip": CLIP, "max_weight": MAX_WEIGHT} | given))
