"""Proofs of fault, kept by whoever leads rounds: a client that one convicts is out for the task.

Each is a file ``<digest>.fault``, which ``secure-agg verify FILE --trust FILE`` checks. They are no part of the log: a
proof convinces whoever reads it, and no one has to have signed that it exists.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from secure_agg import files
from secure_agg.errors import SecureAggError
from secure_agg.protocol.config import RoundConfig
from secure_agg.protocol.fault import MAX_FAULT, FaultProof
from secure_agg.protocol.messages import MAX_CONFIG, decode
from secure_agg.roles.auditor import Auditor
from secure_agg.roles.trust import Trust

_log = logging.getLogger("secure_agg.ledger.faults")


class FaultFolder:
    """The proofs in one folder, which is made with the first of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._checked: dict[str, tuple[Trust, tuple[str, str] | None]] = {}

    def keep(self, faults: Iterable[FaultProof]) -> tuple[Path, ...]:
        """Write proofs, durably; one that is there is left alone.

        Returns:
            Their files, in the order given.
        """
        paths = []
        for proof in faults:
            data = proof.to_bytes()
            path = self._folder / f"{hashlib.sha256(data).hexdigest()[:32]}.fault"
            if not path.exists():
                self._folder.mkdir(parents=True, exist_ok=True)
                files.create(path, data)
            paths.append(path)
        return tuple(paths)

    def proofs(self) -> Iterator[bytes]:
        """All that are here, as they lie: whoever reads one checks it.

        Raises:
            ConfigError: one can't be read.
        """
        for path in sorted(self._folder.glob("*.fault")):
            yield files.read(path, MAX_FAULT, "a proof of fault")

    def convicted(self, trust: Trust, task: str) -> Mapping[str, Path]:
        """Whom the proofs here convict in a task: the clients' ids, each with a file. Each proof is checked, against
        the pins too, before anybody is left out for it, and again once other pins are in force: whoever has another key
        since is somebody else. What proves nothing is passed over, and the log says so.
        """
        found: dict[str, Path] = {}
        for path in sorted(self._folder.glob("*.fault")):
            checked = self._checked.get(path.name)
            if checked is None or checked[0] != trust:
                checked = self._checked[path.name] = trust, _check(path, trust)
            if checked[1] is not None and checked[1][0] == task:
                found.setdefault(checked[1][1], path)
        return found


def _check(path: Path, trust: Trust) -> tuple[str, str] | None:
    """The task and the client that a proof is about; None where it proves nothing, or convicts an operator."""
    try:
        proof = FaultProof.from_bytes(files.read(path, MAX_FAULT, "a proof of fault"))
        config = decode(RoundConfig, proof.config, MAX_CONFIG)
        culprit = Auditor(trust).verify_fault(proof, beacon=config.beacon or None)
    except (OSError, SecureAggError) as error:
        _log.warning("%s proves nothing and leaves nobody out: %s", path, error)
        return None
    return None if culprit in trust.operators else (config.task, culprit)
