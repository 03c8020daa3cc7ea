"""Rounds over the service beyond the plain one: operators, epochs, several tasks, and links that are lost."""

from __future__ import annotations

import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from support.service.world import NAMES, WEIGHTS, a_world, assert_is_mean, update

from secure_agg.errors import ConfigError, OperatorLost, UpdateError
from secure_agg.plugins.homes import federation, proposals
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.roles.epochs.change import Change
from secure_agg.service.link import Link

THREE = NAMES[:3]


@pytest.mark.slow
def test_a_round_over_the_service_is_the_mean_and_metrics_say_so() -> None:
    with a_world(THREE) as world, world.served("--rounds", "1", "--monitor", "127.0.0.1:0", "--log-json") as service:
        with world.members(service.url, THREE) as wait:
            results = {name: found[0] for name, found in wait().items()}
        for result in results.values():
            assert_is_mean(result)
            assert result.weight == sum(WEIGHTS[name] for name in THREE)
            assert all((a == b).all() for a, b in zip(result.model, results["ann"].model, strict=True))
            assert np.allclose(result.model[0], result.average[0])
        monitor = service.ready["monitor"]
        text = ""
        while 'outcome="verified"' not in text:  # members have the result a moment before the round is over
            with urllib.request.urlopen(f"http://{monitor}/metrics", timeout=120) as answer:
                text = answer.read().decode()
        with urllib.request.urlopen(f"http://{monitor}/health/ready", timeout=120) as answer:
            assert answer.status == 200
        assert 'secure_agg_rounds_total{outcome="verified",task="counts"} 1.0' in text
        assert 'secure_agg_verification_seconds_count{task="counts"} 1.0' in text
        assert not any(name in text for name in THREE)
        with world.session(service.url, "ann") as session:
            link = session._link
            nothing = "00" * 16
            assert not link.refuse(nothing, ValueError())
            # Another process of the service has another challenge: the link greets again by itself.
            assert link._to is not None
            link._to = link._to._replace(challenge=bytes(32))
            assert not link.refuse(nothing, ValueError())
            # A clock that was set back: the service says which counter is free.
            link._counter, link._clock = 0, lambda: 0
            assert not link.refuse(nothing, ValueError())
            # A member that comes back, and has nothing to contribute: it waits no longer than it says.
            for timeout in (0.0, 1.0):
                began = time.monotonic()
                with pytest.raises(OperatorLost, match=f"no result has come within {timeout:g} s"):
                    session.contribute(update("ann"), timeout=timeout)
                assert time.monotonic() < began + 20  # the service would have answered after 25
        assert service.stop() == 0


@pytest.mark.slow
def test_a_service_of_so_many_rounds_ends_when_they_are_made_if_it_is_told_to() -> None:
    """It went on for ever, which no script that has asked for one round awaits."""
    with a_world(THREE) as world:
        for round in range(2):  # and again where they are there already
            service = world.serve("--rounds", "1", "--end-seconds", "0")
            if not round:
                with world.members(service.url, THREE) as wait:
                    assert_is_mean(wait()["ann"][0])
            assert service.ended(60) == 0
        assert world.log().count("is verified, over 3 members") == 1


@pytest.mark.slow
def test_an_update_that_is_unfit_is_refused_here_and_its_member_is_left_out() -> None:
    with a_world(NAMES, dropout=0.5) as world, world.served("--rounds", "1") as service:
        found: list[Exception] = []

        def unfit() -> None:
            with world.session(service.url, "dan") as session:
                try:
                    session.contribute([np.zeros(3)])
                except UpdateError as error:
                    found.append(error)

        thread = threading.Thread(target=unfit)
        thread.start()
        with world.members(service.url, THREE) as wait:
            results = wait()
        thread.join(300)
        assert len(found) == 1
        assert_is_mean(results["ann"][0])
        assert results["ann"][0].participants == THREE


@pytest.mark.long
@pytest.mark.parametrize("backend", ["additive", "bfv"])
@pytest.mark.usefixtures("quick_operators")
def test_share_holders_and_key_holders_are_processes_of_their_own(backend: str) -> None:
    with a_world(THREE, backend=backend, bits=8) as world, federation.operators(world.folder):
        with world.served("--rounds", "2") as service, world.members(service.url, THREE, 2) as wait:
            results = wait()
        for result in results["ann"]:
            assert_is_mean(result)


@pytest.mark.long
def test_an_epoch_begins_between_rounds_of_one_process() -> None:
    with a_world(NAMES, min_clients=2) as world, world.served("--rounds", "2", "--gather-seconds", "30") as service:
        with world.members(service.url, NAMES, 1) as wait:
            wait()
        with ServerHome.open(world.server) as home:
            proposal = proposals.propose(home.trust, home.task, Change(policy=replace(world.policy, clip=0.5)))
            approved = []
            for name in NAMES:
                with ClientHome.open(world.home(name)) as member:
                    approved.append(proposals.approve(member, proposal).proposal)
            proposals.submit(home, approved)
        with world.members(service.url, NAMES, 1) as wait:
            results = {name: found[0] for name, found in wait().items()}
        assert {result.evidence.config.epoch for result in results.values()} == {1}
        assert {result.evidence.config.policy.clip for result in results.values()} == {0.5}
        assert_is_mean(results["ann"])


@pytest.mark.parametrize("url", ["http://host:1", "https://", "https://h:0", "https://h:70000", "https://a b:1", "h:1"])
def test_what_is_no_url_of_a_service_is_refused(url: str, tmp_path: Path) -> None:
    with a_world(THREE) as world, ClientHome.open(world.home("ann")) as home, pytest.raises(ConfigError, match="URL"):
        Link(url, home)


def test_a_service_that_is_away_is_asked_again_until_patience_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secure_agg.service.link._REST_S", (0.001, 0.002))
    with a_world(THREE) as world, ClientHome.open(world.home("ann")) as home:
        link = Link("https://127.0.0.1:1", home, patience_s=0.01)
        with pytest.raises(OperatorLost, match=r"has not answered for 0.01 s: ConnectionRefusedError"):
            link.next(0)
