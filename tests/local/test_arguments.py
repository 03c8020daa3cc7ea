"""Every argument of every public callable: a wrong type is named where it comes in, and nothing is left behind."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import secure_agg
from secure_agg.arguments import _check
from secure_agg.errors import ConfigError, FileExists, SecureAggError
from secure_agg.files import create, new_folder

WRONG = (object(), b"bytes", "text", [1], np.ones(3), 1.5, None, ("a", 1))
UPDATES = {name: [np.ones(3)] for name in "abc"}


def callables() -> Iterator[tuple[str, Callable[..., Any], bool]]:
    """Name, function, and whether it takes an instance first."""
    for name in secure_agg.__all__:
        value = getattr(secure_agg, name)
        if inspect.isclass(value) and not issubclass(value, BaseException):
            for attribute, member in vars(value).items():
                function = getattr(member, "__func__", member)
                public = not attribute.startswith("_") or attribute == "__init__"
                if public and hasattr(function, "__wrapped__"):
                    yield f"{name}.{attribute}", function, not isinstance(member, staticmethod)
        elif inspect.isfunction(value):
            yield name, value, False


CALLABLES = list(callables())


@pytest.mark.parametrize(("name", "function", "bound"), CALLABLES, ids=[name for name, *_ in CALLABLES])
def test_an_argument_of_a_wrong_type_is_named(name: str, function: Callable[..., Any], bound: bool) -> None:
    hints = typing.get_type_hints(function.__wrapped__)  # type: ignore[attr-defined]
    for parameter in list(inspect.signature(function).parameters)[bound:]:
        check = _check(hints[parameter]) if parameter in hints else None
        for value in WRONG:
            if check is not None and check(value):
                with pytest.raises(ConfigError, match=f"{parameter} of "):
                    function(*([None] if bound else []), **{parameter: value})


def test_the_walk_meets_what_users_call() -> None:
    found = {name for name, *_ in CALLABLES}
    assert {"aggregate", "verify", "Ledger.__init__", "Trust.load", "Receipt.from_bytes", "Client.join"} <= found


def test_an_error_says_what_makes_the_awaited_of_the_given() -> None:
    result = secure_agg.aggregate(UPDATES)
    for call, word in (
        (lambda: secure_agg.verify(result.evidence, trust="rounds.db.trust.json"), r"Trust\.load\(path\)"),  # type: ignore[arg-type]
        (lambda: secure_agg.verify(result.evidence.to_bytes()), r"Evidence\.from_bytes"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConfigError, match=word):
            call()


@pytest.mark.parametrize("place", ["", ".", "folder", "file/rounds.db", "nul\0.db", "/proc/rounds.db", "x" * 300])
def test_a_refused_ledger_path_leaves_nothing_behind(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("a file")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SecureAggError):
        secure_agg.aggregate(UPDATES, ledger=place)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "wrong",
    [{"clip": -1.0}, {"round": -1}, {"dropouts": {"a": "lunch"}}, {"task": ""}, {"start_model": b"short"}],
    ids=str,
)
def test_a_refused_call_leaves_nothing_behind(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        secure_agg.aggregate(UPDATES, ledger=tmp_path / "deep" / "rounds.db", **wrong)
    assert list(tmp_path.iterdir()) == []


def test_a_refused_call_pins_no_new_task(tmp_path: Path) -> None:
    secure_agg.aggregate(UPDATES, ledger=tmp_path / "rounds.db")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.key")}
    with pytest.raises(ConfigError):
        secure_agg.aggregate({name: [np.ones(3)] for name in "xyz"}, ledger=tmp_path / "rounds.db", task="b", round=-1)
    with secure_agg.Ledger(tmp_path / "rounds.db", read_only=True) as ledger:
        assert list(ledger.trust.tasks) == ["default"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.key")} == before


def test_half_a_file_and_half_a_folder_are_removed(tmp_path: Path) -> None:
    create(tmp_path / "file", b"first")
    with pytest.raises(FileExists):
        create(tmp_path / "file", b"second")

    def fail() -> None:
        with new_folder(tmp_path / "deep" / "folder"):
            create(tmp_path / "deep" / "folder" / "key", b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (sorted(tmp_path.rglob("*")), (tmp_path / "file").read_bytes()) == ([tmp_path / "file"], b"first")


def test_results_are_shown_in_a_line(tmp_path: Path) -> None:
    result = secure_agg.aggregate(UPDATES, ledger=tmp_path / "rounds.db")
    trust = secure_agg.Trust.load(tmp_path / "rounds.db.trust.json")
    verified = secure_agg.verify(result.evidence, trust)
    for value in (result, result.evidence, result.record, result.receipt, result.evidence.config, trust, verified):
        assert len(repr(value)) < 400
        assert "\n" not in repr(value)


def test_changed_line_ends_are_named(tmp_path: Path) -> None:
    result = secure_agg.aggregate(UPDATES, ledger=tmp_path / "rounds.db")
    assert result.receipt is not None
    for data, read in (
        (result.receipt.to_bytes(), secure_agg.Receipt.from_bytes),
        (b"log x\nquorum none\n", secure_agg.WitnessPolicy.parse),
    ):
        with pytest.raises(SecureAggError, match="line ends were changed to CRLF"):
            read(data.replace(b"\n", b"\r\n"))  # type: ignore[operator]
    with pytest.raises(SecureAggError, match="this is a receipt"):
        secure_agg.Evidence.from_bytes(result.receipt.to_bytes())
