"""Epochs over the service: members see what is proposed, sign it there, and the next round begins with it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from support.commands import Run, running
from support.service.world import NAMES, TASK, a_world, assert_is_mean

from secure_agg import RoundResult
from secure_agg.cli.terminal import exits
from secure_agg.errors import AlreadyReleased
from secure_agg.plugins.homes import proposals
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.roles.epochs.change import Change

QUICK = ("--gather-seconds", "30", "--away-seconds", "2")
"""A round begins when all are there, and does not wait for a member that has no home yet."""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return running(capsys, "federation")


@pytest.mark.slow
def test_a_member_joins_by_what_owners_sign_at_the_service(
    run: Run, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """No file goes from one to another but the first trust file: a member proposes, others and the newcomer sign."""
    with a_world(NAMES, min_clients=2) as world, world.served("--rounds", "2", *QUICK) as service:
        at = ("--url", service.url, "--json")
        key, trust, epochs = world.folder / "eve.key", world.folder / "trust.json", world.folder / "epochs"
        public = running(capsys)("keygen", "eve", "--out", key, "--json").document["public"]
        words = ("--join", f"eve={public}", "--clip", 0.5)
        digest = run("propose", world.home("ann"), *words, *at).document["digest"]
        (shown,) = run("status", world.home("bob"), *at).document["proposals"]
        assert (shown["by"], shown["digest"], shown["changes"]["joins"]) == ("ann", digest, "eve")
        assert (shown["authorised_by"], shown["to_accept"], shown["ready"]) == ([], ["eve"], False)
        # Another digest than was looked at is not there, and half of one is none.
        other = "00" * 32
        assert run("approve", other, "--home", world.home("bob"), *at).error["type"] == "WrongContext"
        assert run("approve", digest[:32], "--home", world.home("bob"), *at).code == exits.USAGE
        for name in ("ann", "bob"):
            assert run("approve", digest, "--home", world.home(name), *at).document["authorised"]
        with world.session(service.url, "cyd") as session:
            (seen,) = session.proposals()
            assert seen.changes["clip"] == "1.0 becomes 0.5"
            assert session.approve(seen).authorised == ("ann", "bob", "cyd")
            with pytest.raises(AlreadyReleased):  # an owner signs one
                session.approve(session.propose(Change(leave=frozenset({"dan"}))))
        mine = ("--name", "eve", "--identity", key)
        shown = run("status", trust, *mine, *at).document["proposals"]
        assert [each["by"] for each in shown if each["digest"] == digest] == ["ann"]
        assert run("approve", digest, *mine, "--trust", trust, *at).document["accepted"]
        with world.members(service.url, NAMES, 1) as wait:
            results = wait()
        assert {found[0].evidence.config.epoch for found in results.values()} == {1}
        assert "2 proposals for the next epoch" in caplog.text  # dan's owner, for one, has not looked yet
        assert {found[0].evidence.config.policy.clip for found in results.values()} == {0.5}
        assert_is_mean(results["ann"][0])
        found = run("status", trust, *mine, "--epochs", epochs, *at).document
        assert (found["epoch"], found["members"], found["proposals"]) == (1, 5, [])
        start = ("--start-model", world.start_file, "--epochs", epochs, "--task", TASK)
        assert run("join", world.home("eve"), *mine, "--trust", trust, *start).code == exits.OK
        with world.session(service.url, "eve") as session:
            assert session.policy.clip == 0.5
            assert session.proposals() == []


@pytest.mark.slow
def test_members_that_are_gone_for_good_are_taken_out_by_too_few_for_a_round(run: Run) -> None:
    """Five of seven are there, and six begin a round: those that run and wait change the roster meanwhile."""
    names, there = tuple("abcdefg"), tuple("abcde")
    with a_world(names, min_clients=2) as world, world.served("--rounds", "1", "--away-seconds", "2") as service:

        def contribute(name: str) -> RoundResult:
            with world.session(service.url, name, patience=300) as session:
                return session.contribute([np.full((2, 3), 0.25), np.full(4, 0.5, np.float32)], timeout=200)

        assert world.policy.min_advertised == 6
        with ThreadPoolExecutor(len(there)) as pool:
            running = [pool.submit(contribute, name) for name in there]
            at = ("--url", service.url, "--json")
            words = ("--leave", "f", "--leave", "g")
            digest = run("propose", world.home("c"), *words, *at).document["digest"]
            for name in there:
                assert run("approve", digest, "--home", world.home(name), *at).document["authorised"]
            results = [each.result(timeout=300) for each in running]
        assert {(result.evidence.config.epoch, result.participants) for result in results} == {(1, there)}
        assert np.allclose(results[0].average[0], 0.25, atol=1e-3)


@pytest.mark.slow
def test_a_coordinator_forges_no_epoch_and_swaps_no_proposal() -> None:
    """It serves another proposal under the digest that was looked at, and lays one of its own that nobody has signed
    ready: nothing is signed, nobody closes, and the round is as it was pinned.
    """
    with a_world(NAMES, min_clients=2) as world:
        with ServerHome.open(world.server) as home:
            forged = proposals.propose(home.trust, TASK, Change(policy=replace(world.policy, clip=0.25)))
            home.proposal_path.write_bytes(forged.to_bytes())
        with world.served("--rounds", "1", *QUICK, lie="epoch") as service:
            with world.session(service.url, "ann") as session, pytest.raises(Exception, match="as proposal") as caught:
                session.propose(Change(policy=replace(world.policy, clip=0.5)))
            assert type(caught.value).__name__ == "VerificationError"
            with world.members(service.url, NAMES, 1) as wait:
                results = wait()
            for result in results.values():
                assert (result[0].evidence.config.epoch, result[0].evidence.config.policy.clip) == (0, 1.0)
            assert world.log().count("has not closed epoch 0") == len(NAMES)
        for name in NAMES:
            with ClientHome.open(world.home(name)) as member:
                assert member.epochs.number == 0


def test_what_is_said_of_a_proposals_place_is_one_thing(run: Run, tmp_path: Path) -> None:
    with a_world(NAMES) as world:
        ann, url = world.home("ann"), "https://127.0.0.1:1"
        for words in (
            ("propose", ann, "--clip", 0.5),
            ("propose", ann, "--clip", 0.5, "--out", tmp_path / "x", "--url", url),
            ("propose", ann, "--clip", 0.5, "--offer"),
            ("propose", world.server, "--clip", 0.5, "--url", url),
            ("status", ann, "--url", url, "--submit"),
            ("status", world.folder / "trust.json", "--url", url),
            ("approve", "next.epoch", "--home", ann, "--url", url),
        ):
            assert run(*words).code == exits.USAGE, words
        assert run("propose", world.server, "--clip", 0.5, "--offer").code == exits.OK
