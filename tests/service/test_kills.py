"""Services and members that are killed, for real and at every phase, and rounds that end all the same."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import numpy as np
import pytest
from msgspec.structs import replace
from support.chance.ports import free_port
from support.service.world import KILLED, NAMES, TASK, WEIGHTS, World, a_world, assert_is_mean, environment, update

from secure_agg import Ledger
from secure_agg.plugins.homes import proposals
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.roles.epochs.change import Change

SERVICE_PLACES = ("join:0:2", "step:0:1", "step:1:2", "step:2:1", "step:1:2", "recorded", "result:0:1")
"""In a life that goes on from a set that was signed, the first step is the consistency phase."""


def lives(places: tuple[str, ...], rounds: int) -> None:
    """One life of the service after the other; members go on through all of them."""
    with a_world() as world:
        listen = f"127.0.0.1:{free_port()}"
        service = world.serve("--away-seconds", "60", listen=listen, killed=places[0])
        with world.members(service.url, NAMES, rounds) as wait:
            for place in (*places[1:], ""):
                assert service.ended() == -signal.SIGKILL, world.log()
                service = world.serve("--away-seconds", "60", listen=listen, killed=place)
            try:
                results = wait()
            finally:
                assert service.stop() == 0
        for number in range(rounds):
            found = [results[name][number] for name in NAMES]
            assert {result.record.digest() for result in found} == {found[0].record.digest()}
            assert_is_mean(found[0])
            assert all(result.participants == NAMES for result in found)
        with Ledger(world.server / "rounds.db", read_only=True) as ledger:
            assert ledger.audit().verified == rounds


@pytest.mark.long
def test_members_get_each_result_once_wherever_the_service_was_killed() -> None:
    lives(SERVICE_PLACES, 3)


def killed_member(world: World, url: str, place: str, rounds: int = 1) -> subprocess.Popen[bytes]:
    np.savez(world.folder / "dan.npz", *update("dan"))
    words = ("client", url, "--home", str(world.home("dan")), "--update", str(world.folder / "dan.npz"))
    first = ("-m", "secure_agg") if not place else (str(KILLED), place)
    with (world.folder / "dan.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, *first, *words, "--weight", str(WEIGHTS["dan"]), "--rounds", str(rounds), "--json"],
            env=environment(), stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip


def member_lives(places: tuple[str, ...]) -> None:
    """A member that is killed in each of its lives, and what it knows in the last one. It must not be left out."""
    with a_world() as world, world.served("--away-seconds", "60", "--rounds", "1") as service:
        with world.members(service.url, NAMES[:-1]) as wait:
            for place in places:
                member = killed_member(world, service.url, place)
                member.communicate(timeout=600)
                assert member.returncode == -signal.SIGKILL, (world.folder / "dan.log").read_text()
            member = killed_member(world, service.url, "")
            said, _ = member.communicate(timeout=600)
            assert member.returncode == 0, (world.folder / "dan.log").read_text()
            results = wait()
        document = json.loads(said)
        assert document["included"]
        assert (document["task"], document["rounds"]) == (TASK, [0])
        assert {document["digest"]} == {result[0].record.digest().hex() for result in results.values()}
        assert results["ann"][0].participants == NAMES
        assert_is_mean(results["ann"][0])


@pytest.mark.slow
def test_a_round_ends_though_a_member_and_the_service_were_killed_in_it() -> None:
    """The short form of the two below: the member after it has joined, the service when a set was being signed."""
    with a_world() as world:
        listen = f"127.0.0.1:{free_port()}"
        service = world.serve("--away-seconds", "60", listen=listen, killed="step:1:2")
        with world.members(service.url, NAMES[:-1]) as wait:
            member = killed_member(world, service.url, "after:1")
            member.communicate(timeout=600)
            assert member.returncode == -signal.SIGKILL, (world.folder / "dan.log").read_text()
            member = killed_member(world, service.url, "")
            assert service.ended() == -signal.SIGKILL, world.log()
            service = world.serve("--away-seconds", "60", listen=listen)
            said, _ = member.communicate(timeout=600)
            assert member.returncode == 0, (world.folder / "dan.log").read_text()
            results = wait()
        assert service.stop() == 0
        document = json.loads(said)
        assert (document["included"], document["rounds"]) == (True, [0])
        assert {document["digest"]} == {found[0].record.digest().hex() for found in results.values()}
        assert results["ann"][0].participants == NAMES
        assert_is_mean(results["ann"][0])


@pytest.mark.long
def test_a_member_goes_on_wherever_it_was_killed() -> None:
    """Each life answers what the last one has left unanswered first, so all are killed around their first answers."""
    member_lives(
        ("before:1", "after:1", "before:1", "after:1", "before:1", "after:1", "before:1", "after:1", "before:1")
    )


@pytest.mark.long
def test_an_epoch_begins_though_the_service_was_killed_while_members_closed_the_last() -> None:
    """Whoever has closed for it says the same again; nobody closes for two."""
    with a_world(NAMES, min_clients=2) as world:
        with ServerHome.open(world.server) as home:
            proposal = proposals.propose(home.trust, TASK, Change(policy=replace(world.policy, clip=0.5)))
            approved = []
            for name in NAMES:
                with ClientHome.open(world.home(name)) as mine:
                    approved.append(proposals.approve(mine, proposal).proposal)
            proposals.submit(home, approved)
        listen = f"127.0.0.1:{free_port()}"
        service = world.serve("--gather-seconds", "30", listen=listen, killed="close:0:2")
        with world.members(service.url, NAMES, 1) as wait:
            assert service.ended() == -signal.SIGKILL, world.log()
            service = world.serve("--gather-seconds", "30", listen=listen)
            results = wait()
        assert service.stop() == 0
        assert {found[0].evidence.config.epoch for found in results.values()} == {1}
        assert_is_mean(results["ann"][0])
        with Ledger(world.server / "rounds.db", read_only=True) as ledger:
            assert ledger.audit().epochs == 1
