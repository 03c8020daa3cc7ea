"""The attempt store: what is written once stays, whoever asks and after a restart."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from secure_agg.errors import AlreadyReleased
from secure_agg.roles.memory.store import AttemptStore

SCOPE = ("task", 3, 0)


@pytest.fixture
def store() -> Iterator[AttemptStore]:
    with closing(AttemptStore()) as opened:
        yield opened


def test_nothing_stands_at_first(store: AttemptStore) -> None:
    assert store.get(SCOPE, "secret") is None


def test_what_was_put_stands(store: AttemptStore) -> None:
    store.put(SCOPE, "secret", b"one")
    assert store.get(SCOPE, "secret") == b"one"


def test_a_second_put_returns_the_first_value(store: AttemptStore) -> None:
    assert [store.put(SCOPE, "secret", value) for value in (b"one", b"two", b"one")] == [b"one"] * 3


@pytest.mark.parametrize("value", [b"", b"\x00", bytes(range(256)) * 100])
def test_any_bytes_are_kept(store: AttemptStore, value: bytes) -> None:
    store.put(SCOPE, "secret", value)
    assert store.get(SCOPE, "secret") == value


def test_pinning_the_same_value_again_is_harmless(store: AttemptStore) -> None:
    for _ in range(3):
        store.pin(SCOPE, "session", b"one", phase="p")
    assert store.get(SCOPE, "session") == b"one"


@pytest.mark.parametrize("other", [b"two", b"", b"one\x00"])
def test_pinning_another_value_is_refused_and_names_the_phase(store: AttemptStore, other: bytes) -> None:
    store.pin(SCOPE, "session", b"one", phase="p")
    with pytest.raises(AlreadyReleased, match="another session") as caught:
        store.pin(SCOPE, "session", other, phase="masked-input")
    assert caught.value.phase == "masked-input"
    assert store.get(SCOPE, "session") == b"one"


def test_a_claim_is_granted_once(store: AttemptStore) -> None:
    store.claim(SCOPE, "release", phase="unmask")
    with pytest.raises(AlreadyReleased, match="release was given out before") as caught:
        store.claim(SCOPE, "release", phase="unmask")
    assert caught.value.phase == "unmask"


def test_what_was_put_can_not_be_claimed(store: AttemptStore) -> None:
    store.put(SCOPE, "release", b"")
    with pytest.raises(AlreadyReleased):
        store.claim(SCOPE, "release", phase="unmask")


def test_what_is_forgotten_is_gone_and_nothing_else_is(store: AttemptStore) -> None:
    store.put(SCOPE, "secret", b"one")
    store.put(SCOPE, "session", b"two")
    store.forget(SCOPE, "secret")
    assert (store.get(SCOPE, "secret"), store.get(SCOPE, "session")) == (None, b"two")


def test_forgetting_what_never_was_is_harmless(store: AttemptStore) -> None:
    store.forget(SCOPE, "secret")


@pytest.mark.parametrize(
    "other", [("task", 3, 1), ("task", 4, 0), ("tasks", 3, 0), ("task", 3), ("task", 3, 0, 0), ("", "task", 3, 0), ()]
)
def test_scopes_are_apart(store: AttemptStore, other: tuple[str | int, ...]) -> None:
    store.pin(SCOPE, "session", b"one", phase="p")
    store.pin(other, "session", b"two", phase="p")
    store.claim(SCOPE, "release", phase="p")
    store.claim(other, "release", phase="p")
    store.forget(other, "session")
    assert (store.get(SCOPE, "session"), store.get(other, "session")) == (b"one", None)


def test_text_does_not_run_from_one_part_of_a_scope_into_the_next(store: AttemptStore) -> None:
    store.put(("ab", "c"), "name", b"one")
    assert store.get(("a", "bc"), "name") is None


def test_names_are_apart(store: AttemptStore) -> None:
    store.put(SCOPE, "a", b"one")
    assert store.get(SCOPE, "A") is None


def test_all_of_it_survives_a_restart(tmp_path: Path) -> None:
    with closing(AttemptStore(tmp_path / "store.db")) as before:
        before.put(SCOPE, "secret", b"one")
        before.pin(SCOPE, "session", b"two", phase="p")
        before.claim(SCOPE, "release", phase="p")
    with closing(AttemptStore(tmp_path / "store.db")) as after:
        assert after.put(SCOPE, "secret", b"other") == b"one"
        after.pin(SCOPE, "session", b"two", phase="p")
        with pytest.raises(AlreadyReleased):
            after.pin(SCOPE, "session", b"other", phase="p")
        with pytest.raises(AlreadyReleased):
            after.claim(SCOPE, "release", phase="p")


def test_what_was_forgotten_stays_forgotten_after_a_restart(tmp_path: Path) -> None:
    with closing(AttemptStore(tmp_path / "store.db")) as before:
        before.put(SCOPE, "secret", b"one")
        before.forget(SCOPE, "secret")
    with closing(AttemptStore(tmp_path / "store.db")) as after:
        assert after.get(SCOPE, "secret") is None


def test_a_forgotten_secret_is_not_left_in_the_file(tmp_path: Path) -> None:
    secret = b"a secret that must not stay on disk"
    with closing(AttemptStore(tmp_path / "store.db")) as store:
        store.put(SCOPE, "secret", secret)
        store.forget(SCOPE, "secret")
    assert all(secret not in file.read_bytes() for file in tmp_path.iterdir())


def test_two_connections_to_one_file_see_one_truth(tmp_path: Path) -> None:
    with closing(AttemptStore(tmp_path / "store.db")) as one, closing(AttemptStore(tmp_path / "store.db")) as two:
        one.pin(SCOPE, "session", b"one", phase="p")
        two.claim(SCOPE, "release", phase="p")
        assert two.get(SCOPE, "session") == b"one"
        with pytest.raises(AlreadyReleased):
            two.pin(SCOPE, "session", b"two", phase="p")
        with pytest.raises(AlreadyReleased):
            one.claim(SCOPE, "release", phase="p")


def test_of_many_threads_one_gets_the_claim(tmp_path: Path) -> None:
    with closing(AttemptStore(tmp_path / "store.db")) as one, closing(AttemptStore(tmp_path / "store.db")) as two:

        def granted(store: AttemptStore) -> bool:
            try:
                store.claim(SCOPE, "release", phase="p")
            except AlreadyReleased:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(granted, [one, two] * 16)) == 1


def test_memory_stores_are_apart() -> None:
    with closing(AttemptStore()) as one, closing(AttemptStore()) as two:
        one.put(SCOPE, "secret", b"one")
        assert two.get(SCOPE, "secret") is None


def test_names_are_found_by_how_they_begin(tmp_path: Path) -> None:
    with closing(AttemptStore(tmp_path / "store.db")) as store:
        for name in ("fault of a", "fault of %ü", "fault o", "Fault of b", "fault of", "gap"):
            store.put(SCOPE, name, b"")
        store.put(("another", 1), "fault of c", b"")
        assert store.names(SCOPE, "fault of ") == ("fault of %ü", "fault of a")
        assert store.names(SCOPE, "%") == ()
