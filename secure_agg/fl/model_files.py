"""A model in a file, and its digest as every node computes it: what a node's owner pins the first model by.

    secure_agg.fl.model_files.start_digest(network.state_dict()).hex()          # of what an app begins with
    secure_agg.fl.model_files.start_digest(read_model(Path("start.npz"))).hex()

NumPy's files, safetensors and PyTorch's state dicts are read, and written where there is no file yet. Nothing is
unpickled but tensors, by PyTorch's own reader of weights; PyTorch and safetensors are imported when a file needs them.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import numpy.typing as npt

from secure_agg import files
from secure_agg.errors import ConfigError, MissingExtra, UpdateError
from secure_agg.extras import command
from secure_agg.fl.layers import Layers
from secure_agg.protocol.codec import model_digest

DIGEST_BYTES: Final = 32

Named = Mapping[str, Any]
"""A model's values by name, in its order: numpy arrays, PyTorch's tensors or Flower's ``Array``."""

_NPY: Final = b"\x93NUMPY"
_ALONE: Final = "array"
"""Name of the one array that an ``.npy`` file holds; names are no part of a digest."""


def start_digest(model: Named) -> bytes:
    """The digest of a model that nodes are handed: of the arrays that are averaged, in the model's order.

    It does not depend on names and floating-point types, only on order, shapes and values. Integers and booleans are
    no part of it, see ``Layers``.

    Args:
        model: a state dict, an ``ArrayRecord`` of Flower, or arrays by name.

    Returns:
        32 bytes: ``base_model`` of a round whose updates are differences from this model.

    Raises:
        UpdateError: a value that is neither averaged nor kept, or nothing that is averaged; names it.
    """
    named = {name: _array(name, value) for name, value in model.items()}
    return model_digest(Layers.of(named).floats(named))


def read_model(path: str | Path) -> dict[str, npt.NDArray[Any]]:
    """Read a model's arrays by name, in the file's order.

    What kind of file it is shows in its content: ``.npz``, ``.npy``, ``.safetensors``, or a state dict as
    ``torch.save`` writes it. safetensors files are in the order of types and names and not in the model's: where that
    is another one, take the digest of the state dict itself.

    Returns:
        Arrays as they are in the file; bfloat16 as float32, which changes no value.

    Raises:
        ConfigError: it can't be read, or is none of these; says why.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(16)
        if head.startswith(_NPY):
            return {_ALONE: _numpy(np.load(path, allow_pickle=False))}
        if zipfile.is_zipfile(path) and _holds_numpy(path):
            with np.load(path, allow_pickle=False) as archive:
                return {name: _numpy(archive[name]) for name in archive.files}
        if head[8:9] == b"{":  # after the length of its header
            return _read_safetensors(path)
        return _read_torch(path)
    except OSError as error:
        raise ConfigError(f"model {path} can't be read: {error.strerror or error}") from error
    except ConfigError:
        raise
    except (MemoryError, RecursionError):
        raise ConfigError(f"model {path} does not fit into memory") from None
    except Exception as error:  # of four formats' readers, none of which says what it raises
        raise ConfigError(f"{path} is no model that can be read: {type(error).__name__}: {error}") from error


def write_npz(file: IO[bytes], model: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays by name, in order, as ``numpy.savez`` does, whatever the names are."""
    with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, array in model.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)


def write_model(path: str | Path, model: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write a model into a new file, of the kind that its name ends in.

    Args:
        path: ends in ``.npz``; ``.npy`` for a model of one array; ``.pt`` or ``.pth`` for PyTorch's state dict.
        model: its arrays by name, in its order. An ``.npy`` file drops the name.

    Raises:
        ConfigError: there is a file already, it can't be written, or its name ends in something else. A file that is
            there stays as it is; one that could not be written whole is not there.
    """
    path = Path(path)
    if path.suffix == ".npz":
        content = functools.partial(write_npz, model=model)
    elif path.suffix == ".npy" and len(model) == 1:
        content = functools.partial(np.save, arr=next(iter(model.values())), allow_pickle=False)
    elif path.suffix in (".pt", ".pth"):
        content = functools.partial(_save_torch, path=path, model=model)
    else:
        raise ConfigError(f"{path}: a model of {len(model)} arrays is written as .npz, .pt or .pth; one array as .npy")
    files.write_new(path, content)


def digest_argument(text: str) -> bytes:
    """What a command line names a model by: 64 hexadecimal digits of its digest, or a file that holds it.

    Raises:
        ConfigError: neither, or a file that holds no model.
    """
    if len(text) == 2 * DIGEST_BYTES and not Path(text).exists():
        with contextlib.suppress(ValueError):
            return bytes.fromhex(text)
    if not Path(text).exists():
        raise ConfigError(f"{text!r} is neither a file nor a digest of {2 * DIGEST_BYTES} hexadecimal digits")
    try:
        return start_digest(read_model(text))
    except UpdateError as error:
        raise ConfigError(f"{text}: {error}") from error


def _array(name: str, value: Any) -> npt.NDArray[Any]:
    if isinstance(value, (np.ndarray, np.generic)):
        return np.asarray(value)
    if hasattr(value, "detach"):
        return _of_tensor(value)
    if callable(read := getattr(value, "numpy", None)):
        return np.asarray(read())
    raise UpdateError(f"layer {name!r} is a {type(value).__name__}, no array")


def _of_tensor(tensor: Any) -> npt.NDArray[Any]:
    import torch

    tensor = tensor.detach()
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.float()
    return np.asarray(tensor.cpu().numpy())


def _numpy(loaded: Any) -> npt.NDArray[Any]:
    if not isinstance(loaded, np.ndarray):
        raise ConfigError(f"it holds a {type(loaded).__name__}, no array")
    return loaded


def _holds_numpy(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return bool(names) and all(name.endswith(".npy") for name in names)


def _read_safetensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        from safetensors import safe_open
    except ImportError:
        raise ConfigError(f"{path} needs safetensors: pip install safetensors") from None
    try:
        with safe_open(path, framework="np") as file:
            return {name: file.get_tensor(name) for name in file.offset_keys()}
    except (TypeError, AttributeError):  # a type that numpy lacks
        with safe_open(path, framework="pt") as file:
            return {name: _of_tensor(file.get_tensor(name)) for name in file.offset_keys()}


def _read_torch(path: Path) -> dict[str, npt.NDArray[Any]]:
    torch = _torch(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ConfigError(f"{path} holds no state dict: save model.state_dict() and nothing around it")
    return {str(name): _of_tensor(value) for name, value in state.items()}


def _save_torch(file: IO[bytes], path: Path, model: Mapping[str, npt.NDArray[Any]]) -> None:
    torch = _torch(path)
    whole = io.BytesIO()  # PyTorch's writer has no words for a disk that is full
    torch.save({name: torch.from_numpy(np.array(array, order="C")) for name, array in model.items()}, whole)
    file.write(whole.getbuffer())


def _torch(path: Path) -> Any:
    try:
        return importlib.import_module("torch")
    except ImportError:
        raise MissingExtra(f"{path} needs PyTorch: {command('demo')}", extra="demo") from None
