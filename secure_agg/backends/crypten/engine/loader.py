"""Imports CrypTen 0.4.1, with every random number it draws coming from key streams.

CrypTen as published isn't fit for secrets in three places, all mended here:

* its generators are PyTorch's Mersenne Twisters, of whose 64-bit seeds the CPU generator keeps 32 bits. They are
  replaced by ``randomness.Stream`` (AES-256 in counter mode under 256-bit keys); what asks PyTorch's own generator
  for a number fails.
* its zero shares come from keys of neighbours in a ring: with 4 or 5 parties, two of them learn what the one between
  them shares out. Here every pair of parties has a key, and k − 1 parties learn nothing.
* its default triple provider is party 0, which then knows everything. Here it is ``provider.KeyStreamProvider``.
"""

from __future__ import annotations

import importlib
import sys
import types
import warnings
from collections.abc import Sequence
from importlib import metadata
from typing import Any, Final

from secure_agg import extras
from secure_agg.backends.crypten.engine.randomness import JobKeys, Stream
from secure_agg.errors import ConfigError, LocalProtocolError, MissingExtra

VERSION: Final = "0.4.1"
_INSTALL: Final = f"{extras.command('mpc')}, and  pip install --no-deps crypten=={VERSION}"
_MISSING: Final = "torch.onnx._internal.registration"  # CrypTen's model converter wants it; PyTorch dropped it


def require() -> None:
    """Refuse to start processes that couldn't load CrypTen; imports nothing.

    Raises:
        MissingExtra: CrypTen or what it needs is missing.
        ConfigError: it is of another version.
    """
    missing = [name for name in (*extras.EXTRAS["mpc"], "crypten") if not extras.is_there(name)]
    if missing:
        raise MissingExtra(f"{', '.join(missing)} can't be imported: {_INSTALL}", extra="mpc")
    if (found := metadata.version("crypten")) != VERSION:
        raise ConfigError(f"CrypTen {found} is installed, not {VERSION}: {_INSTALL}")


def load() -> Any:
    """The module ``crypten``, mended, without a communicator.

    Raises:
        ConfigError: CrypTen or what it needs is missing, or it is of another version.
    """
    if _MISSING not in sys.modules:
        stand_in = types.ModuleType(_MISSING)
        stand_in.registry = None  # type: ignore[attr-defined]
        sys.modules[_MISSING] = stand_in
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            crypten: Any = importlib.import_module("crypten")
    except ImportError as error:
        raise ConfigError(f"CrypTen can't be imported ({error}): {_INSTALL}") from error
    if crypten.__version__ != VERSION:
        raise ConfigError(f"CrypTen {crypten.__version__} is installed, not {VERSION}: {_INSTALL}")
    _replace_generators(crypten)
    _quicken(crypten)
    return crypten


def _replace_generators(crypten: Any) -> None:
    """Put functions on key streams in the place of CrypTen's, wherever they were imported to."""
    rng = sys.modules["crypten.common.rng"]
    for name, ours in (
        ("generate_random_ring_element", _ring_element),
        ("generate_kbit_random_tensor", _bits),
    ):
        original = getattr(rng, name)
        for module in [m for n, m in sys.modules.items() if n == "crypten" or n.startswith("crypten.")]:
            if getattr(module, name, None) is original:
                setattr(module, name, ours)
    for generators in crypten.generators.values():
        generators.clear()


def _quicken(crypten: Any) -> None:
    """Save what small computations mostly wait for: CrypTen asks OmegaConf for its settings several times in each
    operation, which takes longer than the operation, and opens what an AND needs in two messages.
    """
    config = crypten.config.cfg.config
    if not isinstance(config, types.SimpleNamespace):
        crypten.config.cfg.config = _plain(importlib.import_module("omegaconf").OmegaConf.to_container(config))
    crypten.mpc.primitives.BinarySharedTensor.reveal_batch = staticmethod(_open_together)


def _plain(value: Any) -> Any:
    """Settings that are read as attributes, and no longer changed."""
    if isinstance(value, dict):
        return types.SimpleNamespace(**{name: _plain(item) for name, item in value.items()})
    return value


def _open_together(shared: Sequence[Any]) -> list[Any]:
    """Open several tensors in one message, in place of ``BinarySharedTensor.reveal_batch``."""
    import torch

    shares = [tensor.share for tensor in shared]
    joined = torch.cat([share.reshape(-1) for share in shares])
    communicator = sys.modules["crypten.communicator"].get()
    opened = communicator.all_reduce(joined, op=torch.distributed.ReduceOp.BXOR)
    pieces = torch.split(opened, [share.numel() for share in shares])
    return [piece.reshape(share.shape) for piece, share in zip(pieces, shares, strict=True)]


def use_keys(crypten: Any, keys: JobKeys) -> None:
    """Draw from these keys from now on, until the next call."""
    import torch

    cpu = torch.device("cpu")
    crypten.generators["local"][cpu] = keys.local
    crypten.generators["global"][cpu] = keys.coins
    primitives = crypten.mpc.primitives

    def arithmetic_zero(*size: Any, device: object = None) -> Any:
        return primitives.ArithmeticSharedTensor.from_shares(_tensor(keys.zero_sum(_shape(size))), precision=0)

    def binary_zero(*size: Any, device: object = None) -> Any:
        return primitives.BinarySharedTensor.from_shares(_tensor(keys.zero_xor(_shape(size))))

    primitives.ArithmeticSharedTensor.PRZS = staticmethod(arithmetic_zero)
    primitives.BinarySharedTensor.PRZS = staticmethod(binary_zero)


def _tensor(words: Any) -> Any:
    import torch

    return torch.from_numpy(words.view("int64"))


def _shape(size: tuple[Any, ...]) -> tuple[int, ...]:
    """CrypTen gives a shape as one argument or as several."""
    return tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else size


def _stream(generator: object) -> Stream:
    if generator is None:
        generator = next(iter(sys.modules["crypten"].generators["local"].values()), None)
    if not isinstance(generator, Stream):
        raise LocalProtocolError("random numbers are drawn before a job's keys are set, or from another generator")
    return generator


def _ring_element(size: Any, ring_size: int = 2**64, generator: object = None, **_: object) -> Any:
    """Uniform modulo 2^64, in place of ``crypten.common.rng.generate_random_ring_element``."""
    if ring_size != 2**64:
        raise LocalProtocolError(f"a ring of {ring_size} elements, not 2^64")
    return _tensor(_stream(generator).draw(*size))


def _bits(size: Any, bitlength: int | None = None, generator: object = None, **_: object) -> Any:
    """Uniform integers of ``bitlength`` bits, in place of ``crypten.common.rng.generate_kbit_random_tensor``."""
    words = _stream(generator).draw(*size)
    if bitlength is not None and bitlength < 64:
        words &= (1 << bitlength) - 1
    return _tensor(words)
