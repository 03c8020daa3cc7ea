"""The last verified model with its names, in the server's home: what a run goes on from.

The chain beside it has the arrays that are averaged and nothing else. This is a whole model, as the framework had it,
with the names and the layers that are kept, in a file that NumPy reads. It is never replaced by a model that is not
verified: the first one is written down only where there is no file yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from secure_agg import files
from secure_agg.errors import ConfigError, StoreError
from secure_agg.fl.model_files import read_model, write_npz
from secure_agg.plugins.homes.server import ServerHome

Named = Mapping[str, npt.NDArray[Any]]


def keep_first(home: ServerHome, model: Named) -> None:
    """Write down what the task's first round starts from; nothing where there is a model already.

    Raises:
        StoreError: the disk is full or fails.
    """
    if not home.model_path.exists():
        keep(home, model)


def keep(home: ServerHome, model: Named) -> None:
    """Write down a verified model, in place of the one before: all of it or nothing.

    Raises:
        StoreError: the disk is full or fails.
    """
    path = home.model_path
    try:
        with files.whole(path, mode=0o600) as file:
            write_npz(file, model)
        files.sync(path.parent)
    except OSError as error:
        raise StoreError(f"the model can't be kept in {path}: {error.strerror or error}") from error


def kept(home: ServerHome) -> dict[str, npt.NDArray[Any]] | None:
    """What was written down last, None where nothing was.

    Raises:
        StoreError: it can't be read.
    """
    if not home.model_path.exists():
        return None
    try:
        return read_model(home.model_path)
    except ConfigError as error:
        raise StoreError(f"the model that was kept is damaged: {error}") from error
