"""Checks the types of arguments where callers come in, so that a mistake is named there and not somewhere below.

``@checked`` reads a function's own annotations: what a type checker would refuse is refused when it is called, too, as
a ``ConfigError``. Containers are looked into for keys and for elements of classes; numbers may be numpy's; what values
may be is for the function itself to say.
"""

from __future__ import annotations

import functools
import inspect
import numbers
import os
import types
import typing
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, get_args, get_origin

import numpy as np

from secure_agg.errors import ConfigError

_F = TypeVar("_F", bound=Callable[..., Any])
_C = TypeVar("_C")

Check = Callable[[Any], str | None]
"""A value to what is wrong with it, or None."""

_NUMBERS: Final[Mapping[type, type]] = {int: numbers.Integral, float: numbers.Real}
_FUNCTION: Final[Any] = get_origin(Callable[..., Any])
_WORDS: Final[Mapping[type, str]] = {
    int: "an integer",
    float: "a number",
    str: "text",
    bytes: "bytes",
    bool: "True or False",
    Path: "a path",
    os.PathLike: "a path",
    types.NoneType: "None",
}


def checked(function: _F) -> _F:
    """Refuse arguments of other types than the function's annotations allow.

    Raises:
        ConfigError: from the function; names the argument, its type, what is awaited, and what makes one of the other.
    """
    names = list(inspect.signature(function).parameters)

    @functools.cache
    def checks() -> tuple[dict[str, Check], list[tuple[int, str, Check]]]:
        """By name, and by place; made at the first call: annotations may name what is defined later."""
        hints = typing.get_type_hints(function)
        known = {name: check for name in names if name in hints and (check := _check(hints[name])) is not None}
        return known, [(names.index(name), name, check) for name, check in known.items()]

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        known, placed = checks()
        given = len(args)
        for place, name, check in placed:
            if place < given and (wrong := check(args[place])):
                raise ConfigError(f"{name} of {_title(function)} {wrong}")
        for name, value in kwargs.items():
            if name in known and (wrong := known[name](value)):
                raise ConfigError(f"{name} of {_title(function)} {wrong}")
        return function(*args, **kwargs)

    return typing.cast(_F, call)


def checked_class(cls: type[_C]) -> type[_C]:
    """Apply ``checked`` to a class's constructor and its public methods; a struct's fields are checked when it is made.

    Raises:
        ConfigError: from all of them.
    """
    for name, member in list(vars(cls).items()):
        if name.startswith("_") and name != "__init__":
            continue
        if isinstance(member, staticmethod):
            setattr(cls, name, staticmethod(checked(member.__func__)))
        elif isinstance(member, classmethod):
            setattr(cls, name, classmethod(checked(member.__func__)))
        elif inspect.isfunction(member):
            setattr(cls, name, checked(member))
    return cls


def check_fields(value: object) -> None:
    """Refuse fields of other types than a struct's annotations say: for its ``__post_init__``, before anything else.

    Raises:
        ConfigError: names the field.
    """
    for name, check in _fields(typing.cast(Hashable, type(value))).items():
        if wrong := check(getattr(value, name)):
            raise ConfigError(f"{name} of {type(value).__name__} {wrong}")


@functools.cache
def _fields(cls: Any) -> dict[str, Check]:
    return {name: check for name, hint in typing.get_type_hints(cls).items() if (check := _check(hint)) is not None}


def _title(function: Callable[..., Any]) -> str:
    return function.__qualname__.removesuffix(".__init__")


def _check(hint: Any) -> Check | None:
    """How to look at a value of this annotation; None where nothing can be said of it."""
    origin, args = get_origin(hint), get_args(hint)
    if hint in (Any, object) or isinstance(hint, TypeVar):
        return None
    if origin is typing.Annotated:
        return _check(args[0])
    if origin in (typing.Union, types.UnionType):
        return _any_of(args)
    if origin is tuple:
        elements = args[0] if len(args) == 2 and args[1] is Ellipsis else None
        return _container(tuple, elements, "a tuple")
    if origin in (Mapping, dict):
        return _mapping(args[0] if args else Any, args[1] if args else Any)
    if origin in (Sequence, list):
        return _container(Sequence, args[0] if args else None, "a list")
    if origin in (Collection, Iterable, set, frozenset):
        return _container(Iterable, args[0] if args else None, "a collection")
    if origin is typing.Literal:
        return None
    return _instance(origin or hint)


def _instance(cls: Any) -> Check | None:
    if not isinstance(cls, type):
        return None
    if cls is _FUNCTION:
        return lambda value: None if callable(value) else f"is {_named(value)}, not a function"
    if getattr(cls, "_is_protocol", False):
        return None
    accepted: Any = _NUMBERS.get(cls, os.PathLike if cls is Path else cls)
    if cls is int:  # as JSON and data frames write them: 3.0
        return lambda value: (
            None
            if type(value) is int
            or isinstance(value, numbers.Integral)
            or (isinstance(value, float | np.floating) and value == value // 1)
            else f"is {_named(value)}, not {_word(cls)}"
        )

    def check(value: Any) -> str | None:
        if type(value) is cls or isinstance(value, accepted):  # abstract classes take twenty times as long to ask
            return None
        return f"is {_named(value)}, not {_word(cls)}{_cure(value, cls)}"

    return check


def _any_of(hints: Iterable[Any]) -> Check | None:
    wanted = list(hints)
    checks = [_check(hint) for hint in wanted]
    if any(check is None for check in checks):
        return None
    known = [check for check in checks if check is not None]
    classes = [get_origin(hint) or hint for hint in wanted if hint is not types.NoneType]
    if len(classes) == 1:
        only = next(check for check, hint in zip(known, wanted, strict=True) if hint is not types.NoneType)
        return lambda value: None if value is None and len(known) > 1 else only(value)
    words = " or ".join(dict.fromkeys(_word(cls) for cls in classes))
    plain = frozenset(hint for hint in wanted if isinstance(hint, type) and get_origin(hint) is None)

    def check(value: Any) -> str | None:
        if type(value) in plain or any(check(value) is None for check in known):
            return None
        cure = next((found for cls in classes if (found := _cure(value, cls))), "")
        return f"is {_named(value)}, not {words}{cure}"

    return check


def _mapping(keys: Any, values: Any) -> Check:
    key = _check(keys)
    value_check = _check(values) if values is bytes or _is_ours(values) else None

    def check(found: Any) -> str | None:
        if type(found) is not dict and not isinstance(found, Mapping):
            cure = ": state_dict() gives one" if hasattr(found, "state_dict") else ""
            return f"is {_named(found)}, not a mapping (a dict){cure}"
        for name, value in found.items():
            if key is not None and (wrong := key(name)):
                return f"has the key {name!r}, which {wrong}"
            if value_check is not None and (wrong := value_check(value)):
                return f"holds for {name!r} what {wrong}"
        return None

    return check


def _container(cls: Any, elements: Any, word: str) -> Check:
    element = _check(elements) if elements is not None and _is_deep(elements) else None

    def check(found: Any) -> str | None:
        usual = type(found) is tuple or (cls is not tuple and type(found) is list)
        if not usual and (isinstance(found, str | bytes | bytearray) or not isinstance(found, cls)):
            return f"is {_named(found)}, not {word}"
        if element is not None and (usual or isinstance(found, Collection)):
            for index, value in enumerate(found):
                if wrong := element(value):
                    return f"has at {index} what {wrong}"
        return None

    return check


def _is_deep(hint: Any) -> bool:
    """Whether elements of this annotation are looked at: arrays, and what no type says more of, are not."""
    if get_origin(hint) in (typing.Union, types.UnionType, tuple):
        return all(arg is Ellipsis or _is_deep(arg) for arg in get_args(hint))
    return hint in (str, bytes, int) or _is_ours(hint)


def _is_ours(hint: Any) -> bool:
    cls = get_origin(hint) or hint
    return isinstance(cls, type) and cls.__module__.partition(".")[0] in ("secure_agg", "zk", "mpc")


def _named(value: Any) -> str:
    """A value's type, in words; never the value itself, which may be long or secret."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"an {name}" if name[0] in "aeioAEIO" else f"a {name}"


def _word(cls: Any) -> str:
    if cls in _WORDS:
        return _WORDS[cls]
    name = getattr(cls, "__name__", str(cls))
    return f"an {name}" if name[0] in "aeioAEIO" else f"a {name}"


def _cure(value: Any, cls: Any) -> str:
    """What makes the awaited one of the given."""
    if isinstance(value, str | os.PathLike) and hasattr(cls, "load"):
        return f": {cls.__name__}.load(path) reads one"
    if isinstance(value, bytes | bytearray | memoryview) and hasattr(cls, "from_bytes") and cls is not int:
        return f": {cls.__name__}.from_bytes(data) decodes one"
    if cls is bytes and hasattr(value, "to_bytes") and not isinstance(value, int):
        return f": {type(value).__name__}.to_bytes() encodes it"
    if cls is bytes and isinstance(value, str):
        return ": bytes.fromhex decodes hexadecimal"
    return ""
