"""A nursery of the crypten engine whose parties write down all they exchange; run by ``test_crypten_engine``.

Every record is a file ``NUMBER-OPERATION-WHAT.npy`` in the folder ``recorded-RANK``: what came out of a collective
operation, or went through a message. WHAT is ``output`` while the engine opens an output, else ``inner``.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn

import numpy as np
import torch
import torch.distributed as dist

from secure_agg.backends.crypten.engine import nursery, party
from secure_agg.backends.crypten.engine.channel import Channel

RECORDS: Final = "RECORDS"
"""The variable that names the folder."""

_numbers = itertools.count()
_folder: Path
_what = "inner"


class _Finished:
    """What an asynchronous operation returns, already done."""

    def wait(self) -> None:
        """Nothing to wait for."""


def record(folder: Path, operation: str, tensors: list[Any]) -> None:
    """Write one record, completely or not at all."""
    data = torch.cat([tensor.detach().reshape(-1) for tensor in tensors]).numpy()
    name = f"{next(_numbers):06d}-{operation}-{_what}.npy"
    np.save(folder / f".{name}", data)
    os.replace(folder / f".{name}", folder / name)


def _recording(name: str) -> Callable[..., Any]:
    original = getattr(dist, name)

    def operation(tensor: Any, *args: Any, **kwargs: Any) -> Any:
        kwargs.pop("async_op", None)
        before = name in ("send", "isend", "broadcast", "scatter")
        result = original(tensor, *args, **kwargs)
        if name.startswith("i"):
            result.wait()
        tensors = tensor if isinstance(tensor, list) else [tensor]
        record(_folder, name, [t.clone() for t in tensors] if before else tensors)
        return _Finished()

    return operation


def _marked(function: Callable[..., Any]) -> Callable[..., Any]:
    def output(*args: Any) -> Any:
        global _what
        _what = "output"
        try:
            return function(*args)
        finally:
            _what = "inner"

    return output


def _place(folder: Path) -> None:
    """Where this process's own records go, once it is a party."""
    global _folder
    _folder = folder
    folder.mkdir()


def main() -> NoReturn:
    """The records' folder is in the environment; the argument is the nursery's own."""
    parent = Path(os.environ[RECORDS])
    for name in (
        *("all_reduce", "reduce", "all_gather", "gather", "broadcast", "scatter"),
        *("send", "recv", "isend", "irecv"),
    ):
        setattr(dist, name, _recording(name))
    from secure_agg.backends.crypten.engine import loader

    loader.load()
    from secure_agg.backends.crypten.engine import functions

    for name in ("_disclose", "_disclose_bits"):
        setattr(functions, name, _marked(getattr(functions, name)))
    serve = party.serve

    def recorded(channel: Channel, rank: int, *rest: Any) -> NoReturn:
        _place(parent / f"recorded-{rank}")
        serve(channel, rank, *rest)

    party.serve = recorded
    nursery.main()


if __name__ == "__main__":
    main()
