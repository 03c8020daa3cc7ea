"""The journal gives back exactly what was written, whatever a crash has cut short, and keeps it from others."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from secure_agg.errors import ConfigError, StoreError
from secure_agg.plugins.homes import journal
from secure_agg.plugins.homes.journal import Journal

KEY = ("task", 3, 1)
ARRAYS = {
    "model": [np.arange(6, dtype=np.float32).reshape(2, 3), np.array([1.5, -2.25, 1e300])],
    "update": [np.array([[0.5]], dtype=np.float16), np.array(0.25), np.linspace(0, 1, 7)],
}
FACTS = {"weight": 12, "metrics": ["accuracy", "perte à é"]}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def begun(place: Path) -> Journal:
    made = Journal(place, 100)
    made.begin(KEY, ARRAYS, FACTS)
    return made


def test_another_process_finds_what_was_written(place: Path) -> None:
    begun(place).add_request(b"first")
    found = Journal(place, 100)
    found.add_request(memoryview(b"second"))
    assert (found.key, found.facts(), list(found.requests())) == (KEY, FACTS, [b"first", b"second"])
    assert [*found.requests()[1:]] == [b"second"]
    for name, arrays in ARRAYS.items():
        for got, wanted in zip(found.arrays(name), arrays, strict=True):
            assert (got.dtype, got.shape, got.tobytes()) == (wanted.dtype, wanted.shape, wanted.tobytes())
            assert got.flags.writeable


def test_a_request_is_kept_once_and_one_at_a_time_is_read(place: Path) -> None:
    made = begun(place)
    for request in (b"first", b"second", b"first"):
        made.add_request(request)
    kept = made.requests()
    assert list(kept) == [b"first", b"second"]
    (place / "attempt" / next(name for name in os.listdir(place / "attempt") if "request-001" in name)).unlink()
    assert kept[0] == b"first"
    with pytest.raises(StoreError):
        kept[1]


def test_files_are_their_owners_alone(place: Path) -> None:
    begun(place).add_request(b"request")
    for path in [place, *place.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_a_new_attempt_takes_the_place_of_the_last(place: Path) -> None:
    made = begun(place)
    made.add_request(b"old")
    made.begin(("task", 4, 0), {"update": ARRAYS["update"]}, {})
    assert (made.key, len(made.requests()), made.facts()) == (("task", 4, 0), 0, {})
    with pytest.raises(StoreError):
        made.arrays("model")


def test_what_was_dropped_or_cleared_is_gone(place: Path) -> None:
    made = begun(place)
    made.drop("update")
    made.drop("update")
    with pytest.raises(StoreError):
        made.arrays("update")
    assert len(made.arrays("model")) == 2
    made.clear()
    made.clear()
    assert (made.key, list(place.iterdir()), len(made.requests())) == (None, [], 0)
    with pytest.raises(ConfigError, match="none has begun"):
        made.add_request(b"request")


class Crash(Exception):
    """The process ends here."""


@pytest.mark.parametrize("calls", range(8))
def test_a_beginning_that_is_cut_short_never_was(place: Path, monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """At every rename and every wait for the disk."""
    begun(place)
    steps = iter(range(calls, -1, -1))

    def crashing_at(call: Callable[..., None]) -> Callable[..., None]:
        def step(*arguments: object) -> None:
            if not next(steps, 0):
                raise Crash
            call(*arguments)

        return step

    made = Journal(place, 100)
    with monkeypatch.context() as crashing:
        for name in ("fsync", "rename", "replace"):
            crashing.setattr(os, name, crashing_at(getattr(os, name)))
        with pytest.raises(Crash):
            made.begin(("task", 9, 0), ARRAYS, FACTS)
    found = Journal(place, 100)
    assert found.key in (KEY, None)
    assert found.key is None or found.facts() == FACTS
    found.begin(("task", 9, 0), ARRAYS, FACTS)
    assert [array.size for array in found.arrays("model")] == [6, 3]


def test_a_request_that_is_cut_short_never_was(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = begun(place)
    made.add_request(b"first")

    def fail(descriptor: int) -> None:
        raise Crash

    with monkeypatch.context() as crashing:
        crashing.setattr(os, "fsync", fail)
        with pytest.raises(Crash):
            made.add_request(b"second")
    assert list(made.requests()) == [b"first"]
    made.add_request(b"third")
    assert list(made.requests()) == [b"first", b"third"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:-1], "does not belong there"),
        (lambda data: data + b"x", "magic"),
        (lambda data: data.replace(b"(2, 3)", b"(9, 9)"), "does not belong there"),
        (lambda data: data.replace(b"<f4", b"|O8"), "does not belong there"),
        (lambda data: data.replace(b"<f4", b"<i4"), "does not belong there"),
    ],
)
def test_damaged_arrays_are_refused(place: Path, change: Callable[[bytes], bytes], said: str) -> None:
    made = begun(place)
    path = place / "attempt" / "model.arrays"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(StoreError, match=said):
        made.arrays("model")


def test_a_size_is_bounded_by_the_policy_when_it_is_written_and_when_it_is_read(place: Path) -> None:
    with pytest.raises(ConfigError, match="9 elements, above max_parameters 8"):
        Journal(place, 8).begin(KEY, ARRAYS, FACTS)
    assert Journal(place, 8).key is None
    begun(place)
    with pytest.raises(StoreError, match="does not belong there"):
        Journal(place, 8).arrays("model")


def test_what_does_not_fit_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arrays in ({"a": [np.arange(3)]}, {"a": [np.array(1j)]}, {"../a": [np.ones(2)]}):
        with pytest.raises(ConfigError):
            Journal(place, 100).begin(KEY, arrays, FACTS)
    with pytest.raises(ConfigError, match="facts of"):
        Journal(place, 100).begin(KEY, {}, {"long": "x" * (1 << 20)})
    monkeypatch.setattr(journal, "MAX_REQUESTS", 1)
    made = begun(place)
    made.add_request(b"one")
    with pytest.raises(ConfigError, match="requests at most"):
        made.add_request(b"two")


def test_without_an_attempt_there_are_no_facts(place: Path) -> None:
    with pytest.raises(StoreError):
        Journal(place, 100).facts()
