"""What one of each operation takes on a machine: shipped for one, measured anew by ``secure-agg plan --calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from secure_agg import files
from secure_agg.errors import ConfigError
from secure_agg.planning.work import PARALLEL, Operation, Work
from secure_agg.protocol.ready import ready

_LARGEST: Final = 1 << 16


class Constants(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One machine.

    Attributes:
        machine: its name, for people.
        cores: that a role may use.
        seconds: of processor time for one of each operation.

    Raises:
        ValueError: an operation is missing, or a figure is no time.
    """

    machine: str
    cores: int
    seconds: dict[Operation, float]

    def __post_init__(self) -> None:
        missing = [operation.value for operation in Operation if operation not in self.seconds]
        if missing:
            raise ValueError(f"there is no figure for {', '.join(missing)}")
        if self.cores < 1 or not all(0 <= each < 3600 for each in self.seconds.values()):
            raise ValueError("a machine has a core at least, and an operation takes between 0 and 3600 seconds")

    def processor(self, work: Work) -> float:
        """Seconds of processor time, on however many cores."""
        return sum(count * self.seconds[operation] for operation, count in work.items())

    def elapsed(self, work: Work) -> float:
        """Seconds until it is done, where nothing else runs: what is spread over the cores takes its part of them."""
        spread = {operation: count / self.cores for operation, count in work.items() if operation in PARALLEL}
        return self.processor({**work, **spread})

    def save(self, path: Path) -> None:
        """Write them as JSON."""
        files.replace(path, msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")

    @staticmethod
    def load(path: Path) -> Constants:
        """Read what ``save`` wrote.

        Raises:
            ConfigError: it can't be read, or is something else.
        """
        try:
            with path.open("rb") as file:
                data = file.read(_LARGEST + 1)
            if len(data) > _LARGEST:
                raise ValueError(f"it is larger than {_LARGEST} bytes")
            return msgspec.json.decode(data, type=ready(Constants))
        except (OSError, ValueError, msgspec.DecodeError) as error:
            raise ConfigError(f"{path} holds no constants of a machine: {error}") from error


DEFAULT: Final = Constants(
    machine="AMD EPYC, 2 cores, Python 3.11.7",
    cores=2,
    seconds={
        Operation.ENCODE: 5.39e-10,
        Operation.COMMIT: 2.72e-09,
        Operation.MASK: 3.75e-10,
        Operation.ADD: 3.44e-10,
        Operation.DECODE: 1.92e-09,
        Operation.RANGE: 8.69e-11,
        Operation.COPY: 2.88e-10,
        Operation.HASH: 4.82e-10,
        Operation.SEAL: 3.65e-10,
        Operation.HEADER: 1.21e-09,
        Operation.SEND: 2.11e-05,
        Operation.RECEIVE: 6.47e-05,
        Operation.ANSWER: 1.7e-05,
        Operation.HANDLE: 5.16e-05,
        Operation.SCAN: 1.23e-07,
        Operation.JOIN: 0.000821,
        Operation.MEMBER: 3.58e-06,
        Operation.ADVERTISEMENT: 6.73e-05,
        Operation.DEAL: 7.35e-05,
        Operation.TAKE: 3.35e-05,
        Operation.SHARE: 9.47e-10,
        Operation.REVEAL: 2.49e-06,
        Operation.LOST_EDGE: 2.88e-05,
        Operation.ENTRY: 2.02e-06,
        Operation.VERIFY: 6.18e-05,
        Operation.OPENING: 7.66e-06,
        Operation.LETTER: 3.27e-05,
        Operation.LATTICE_KEY: 0.00859,
        Operation.BFV_ENCRYPT: 0.000822,
        Operation.BFV_LOAD: 6.56e-05,
        Operation.BFV_ADD: 6.76e-06,
        Operation.BFV_STORE: 7.55e-05,
        Operation.BFV_DECRYPT: 0.00033,
        Operation.CKKS_ENCRYPT: 0.000988,
        Operation.CKKS_LOAD: 6.11e-05,
        Operation.CKKS_ADD: 7.91e-06,
        Operation.CKKS_STORE: 8.42e-05,
        Operation.CKKS_DECRYPT: 0.000217,
        Operation.PAILLIER_ENCRYPT: 0.0011,
        Operation.PAILLIER_ADD: 8.56e-06,
        Operation.PAILLIER_DECRYPT: 0.00697,
        Operation.PAILLIER_KEY: 0.006,
    },
)
"""Of the machine that docs/cost-model.md was measured on."""
