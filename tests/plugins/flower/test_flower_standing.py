"""Nodes that stand between two messages of one process say what new processes say, and notice what has changed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.frameworks.plugin_rounds import NAMES, Nodes, World, a_world, model, updates

from secure_agg.errors import ConfigError, LocalProtocolError, MalformedMessage
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.participant import Participant
from secure_agg.plugins.homes import standing
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.protocol.config import NO_DIGEST


@pytest.fixture
def world() -> Iterator[World]:
    with a_world() as made:
        yield made
        standing.forget()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every home that was opened, in order."""
    paths: list[Path] = []
    whole = ClientHome.open

    def counted(path: Path) -> ClientHome:
        paths.append(path)
        return whole(path)

    monkeypatch.setattr(ClientHome, "open", staticmethod(counted))
    return paths


@dataclass
class Stand(Nodes):
    """The same nodes, of which each message finds one standing, but for those that come ``elsewhere``."""

    elsewhere: Callable[[int], bool] = lambda place: False
    asked: dict[str, int] = field(default_factory=dict)

    def answer(self, name: str, kind: str, payload: bytes) -> bytes:
        place = self.asked[name] = self.asked.get(name, -1) + 1
        if self.elsewhere(place):
            return super().answer(name, kind, payload)
        with standing.at_home(self.homes[name], NO_DIGEST, Participant) as (_, participant):
            if kind != parcels.JOIN:
                return participant.handle(payload)
            at = self.model
            return participant.handle(payload, at, lambda: self._train(name, at))


def played(world: World, **how: Any) -> None:
    """Two rounds of standing nodes."""
    at = model()
    for seed in range(2):
        nodes = Stand(world.homes, updates(seed), at, **how)
        outcome = world.coordinator.round(at, nodes)
        assert nodes.errors == []
        assert outcome.participants == tuple(sorted(NAMES))
        mean = [np.mean([updates(seed)[name][i] for name in NAMES], axis=0) for i in range(len(at))]
        for new, old, step in zip(outcome.model, at, mean, strict=True):
            assert np.allclose(new, old + step, atol=1e-4)
        at = outcome.model


def test_a_node_that_stands_is_opened_once(world: World, opened: list[Path]) -> None:
    played(world)
    assert sorted(opened) == sorted(world.homes.values())


def test_what_another_process_has_answered_meanwhile_is_gone_on_from(world: World) -> None:
    played(world, elsewhere=lambda place: place % 2)


def test_updates_beyond_what_may_be_held_are_taken_from_the_disk(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "_MOST_BYTES", 0)
    monkeypatch.setattr(standing, "_MOST", 2)
    played(world)
    assert len(standing._nodes) == 2
    assert not any(node.lodger.held_bytes for node in standing._nodes.values())


def met(home: Path, said: bytes = NO_DIGEST) -> ClientHome:
    with standing.at_home(home, said, Participant) as (found, _):
        return found


def test_a_home_is_opened_anew_when_anything_it_was_made_of_has_changed(world: World) -> None:
    home = world.homes["north"]
    first = met(home)
    assert met(home) is first
    assert met(home, b"\1" * 32) is not first, "another run's surroundings"
    before = met(home)
    path = home / "home.json"
    text, times = path.read_text(), path.stat()
    path.write_text(text.replace('"weight_key": null', '"weight_key": "size"'))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a copy that keeps times does
    after = met(home)
    assert after is not before
    assert after.weight_key == "size"
    store = home / "attempts.db"
    (home / "copy").write_bytes(store.read_bytes())
    (home / "copy").chmod(0o600)
    (home / "copy").replace(store)  # another store in its place, with the same in it
    assert met(home) is not after


def test_a_home_that_others_can_read_by_now_is_refused_where_it_stands(world: World) -> None:
    home = world.homes["north"]
    met(home)
    home.chmod(0o755)
    with pytest.raises(ConfigError, match="accessible to others"):
        met(home)
    home.chmod(0o700)
    met(home)
    (home / "identity.key").chmod(0o644)
    with pytest.raises(ConfigError, match="accessible to others"):
        met(home)


def test_a_refused_message_leaves_nothing_standing(world: World) -> None:
    home = world.homes["north"]
    first = met(home)
    with (
        pytest.raises(MalformedMessage),
        standing.at_home(home, NO_DIGEST, Participant) as (_, participant),
    ):
        participant.handle(b"nonsense")
    assert met(home) is not first


def test_two_messages_at_once_have_a_pair_each(world: World) -> None:
    home = world.homes["north"]
    with (
        standing.at_home(home, NO_DIGEST, Participant) as (one, _),
        standing.at_home(home, NO_DIGEST, Participant) as (other, _),
    ):
        assert one is not other
    assert met(home) is other


def test_a_forked_process_uses_no_connection_of_its_parent(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    home = world.homes["north"]
    first = met(home)
    number = os.getpid()
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: number + 1)
        assert met(home) is not first
    assert met(home) is not first


def test_a_round_that_another_process_has_ended_is_over_for_who_stands(world: World) -> None:
    """The journal is what tells: a participant that trusted its memory would go on with what is erased."""
    seen: dict[str, bytes] = {}

    def keep(kind: str, name: str, payload: bytes) -> bytes:
        if name == "north" and kind == parcels.STEP:
            seen.setdefault("first", payload)
        return payload

    nodes = Stand(world.homes, updates(0), model(), elsewhere=lambda place: place > 2, tamper_request=keep)
    world.coordinator.round(model(), nodes)
    assert nodes.errors == []
    with (
        pytest.raises(LocalProtocolError, match="joined no round"),
        standing.at_home(world.homes["north"], NO_DIGEST, Participant) as (_, participant),
    ):
        participant.handle(seen["first"])
