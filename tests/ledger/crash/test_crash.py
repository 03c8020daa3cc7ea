"""The ledger after kills, failing disks, power cuts and damage: nothing acknowledged is lost, nothing is signed twice.

The short form is part of every test run, and is the same in each; the long one is ``make crash``, which draws a seed.
Both print theirs; CRASH_SEED names one.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from ledger.crash.cases import KILL, NAME, SHORT, TORN, Case, World, Writer
from ledger.crash.powercut import Disk, read_calls
from support.chance import seeds

from secure_agg.errors import SecureAggError
from secure_agg.ledger.fsck.fsck import fsck
from secure_agg.ledger.fsck.report import Kind
from secure_agg.ledger.log import Ledger
from secure_agg.protocol.evidence import Evidence

SEED = int(os.environ.get("CRASH_SEED", seeds.SEED))

FULL = [pytest.param(False, id="short"), pytest.param(True, id="full", marks=pytest.mark.crash)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.make(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def writer(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Writer]:
    if not sys.platform.startswith("linux") or shutil.which("gcc") is None:
        pytest.skip("the crash suite needs Linux and gcc: it preloads a library into the process that it crashes")
    process = Writer(tmp_path_factory.mktemp("writer"), world.files["left"][0])
    yield process
    process.close()


@pytest.fixture
def randomness(capsys: pytest.CaptureFixture[str]) -> random.Random:
    report(capsys, f"seed {SEED}")
    return random.Random(SEED)


def report(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with capsys.disabled():
        sys.stdout.write(f" {text}")
        sys.stdout.flush()


def left(world: World, *rounds: int) -> str:
    return " ".join(str(world.files["left"][round]) for round in rounds)


# What is crashed: steps with the calls to act on between ``arm`` and ``count``.


def steps(world: World, name: str) -> list[str]:
    append = f"append {left(world, 2)}"
    return {
        "append": ["open", "ARM", append, "count"],
        "second append": ["open", append, "ARM", f"append {left(world, 3)}", "count"],
        "merging": ["open", "small", append, "ARM", f"append {left(world, 3)}", "count"],
        "batch": ["open", "ARM", f"batch {left(world, 2, 3, 4)}", "count"],
        "close": ["open", append, "ARM", "close", "count"],
    }[name]


SCENARIOS = ("append", "second append", "merging", "batch", "close")


def armed(plan: list[str], at: int, action: int) -> list[str]:
    return [f"arm {at} {action}" if step == "ARM" else step for step in plan]


def calls(writer: Writer, world: World, name: str, folder: Path) -> int:
    """How many calls the scenario makes between ``arm`` and ``count``."""
    lines, _ = writer.run(world.case(folder), armed(steps(world, name), 0, 0))
    shutil.rmtree(folder)
    return next(int(line.split()[1]) for line in lines if line.startswith("count"))


@pytest.mark.parametrize("full", FULL)
def test_a_writer_killed_at_any_moment_loses_and_contradicts_nothing(
    world: World,
    writer: Writer,
    tmp_path: Path,
    full: bool,
    randomness: random.Random,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kills, number, case = 0, 0, world.case(tmp_path / "0")
    while kills < (220 if full else 10):
        number += 1
        task = randomness.choice(("left", "right"))
        file = case.next(task)
        if file is None:
            case = world.case(tmp_path / str(number))
            continue
        rounds = " ".join(map(str, world.files[task][int(file.name.split("-")[1]) :]))
        verb = randomness.choice(("append", "append", "batch"))
        if randomness.random() < 0.5:  # by time, in fractions of what one append takes
            status = writer.run(case, ["open", f"{verb} {rounds}"], delay=randomness.uniform(0, 0.03))[1]
        else:
            plan = [f"arm {randomness.randrange(1, 200)} {randomness.choice((KILL, TORN))}", "open", f"{verb} {rounds}"]
            status = writer.run(case, plan)[1]
        kills += status == signal.SIGKILL
        case.check("right" if task == "left" else "left")
    report(capsys, f"{kills} kills in {number} runs")


@pytest.mark.parametrize("full", FULL)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_call_that_fails_or_is_the_last_leaves_a_ledger_that_goes_on(
    world: World, writer: Writer, tmp_path: Path, name: str, full: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    count = calls(writer, world, name, tmp_path / "count")
    outcomes: Counter[str] = Counter()
    for at in range(1, count + 1):
        for action in (errno.EIO, errno.ENOSPC, KILL, TORN, SHORT):
            if not full and (at + action) % 37:
                continue
            case = world.case(tmp_path / f"{at} {action}")
            lines, status = writer.run(case, armed(steps(world, name), at, action))
            outcomes["killed" if status else "refused" if any(map(is_error, lines)) else "went on"] += 1
            case.check("right")
            shutil.rmtree(case.root)
    assert outcomes["killed"]
    report(capsys, f"{count} calls, {sum(outcomes.values())} injections: {dict(outcomes)}")


def is_error(line: str) -> bool:
    return line.startswith("error")


@pytest.mark.parametrize("full", FULL)
def test_finishing_what_was_cut_short_may_be_cut_short_too(
    world: World, writer: Writer, tmp_path: Path, full: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """The writer dies between its two commits, its successor at every call of finishing it, the next one goes on."""
    plan = steps(world, "append")
    stages = 0
    for at in range(1, calls(writer, world, "append", tmp_path / "count") + 1):
        case = world.case(tmp_path / f"{at}")
        writer.run(case, armed(plan, at, KILL))
        if not any(
            "cut short" in finding.what and "approval" in finding.where for finding in fsck(case.ledger).findings
        ):
            continue
        for again in range(1, 20 if full else 4):
            second = Case(
                world, tmp_path / f"{at} {again}", dict(case.acknowledged), {k: set(v) for k, v in case.signed.items()}
            )
            shutil.copytree(case.root, second.root)
            _, status = writer.run(second, [f"arm {again} {KILL}", "open"])
            second.check("right")
            stages += 1
            if not status:
                break
        if not full:
            break
    assert stages
    report(capsys, f"{stages} second crashes")


@pytest.mark.parametrize("full", FULL)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_power_cut_at_any_moment_loses_and_contradicts_nothing(
    world: World,
    writer: Writer,
    tmp_path: Path,
    name: str,
    full: bool,
    randomness: random.Random,
    capsys: pytest.CaptureFixture[str],
) -> None:
    case, log = world.case(tmp_path / "live"), tmp_path / "log"
    disk, cuts = Disk(case.root), 0
    plan = [step for step in steps(world, name) if step not in ("ARM", "count")]
    writer.run(case, plan, log=log)
    said: list[str] = []
    every = 1 if full else 29
    for number, call in enumerate(read_calls(log)):
        if call.kind == "N":
            said.append(call.path)
            continue
        disk.play(call)
        if number % every:
            continue
        for seed in ("nothing", "everything", *(randomness.randrange(1 << 32) for _ in range(3 if full else 1))):
            after = Case(world, tmp_path / f"{number} {seed}")
            disk.cut(seed, after.root)
            after.take(said)
            after.check("right")
            shutil.rmtree(after.root)
            cuts += 1
    report(capsys, f"{cuts} power cuts")


@pytest.mark.parametrize("full", FULL)
def test_a_ledger_whose_making_was_cut_short_is_made_the_next_time(
    world: World,
    writer: Writer,
    tmp_path: Path,
    full: bool,
    randomness: random.Random,
    capsys: pytest.CaptureFixture[str],
) -> None:
    live, log, tries = Case(world, tmp_path / "live"), tmp_path / "log", 0
    live.root.mkdir()
    disk = Disk(live.root)
    writer.run(live, ["open"], log=log)
    changes = [call for call in read_calls(log) if call.kind != "N"]
    every = 1 if full else 11
    for number, call in enumerate(changes):
        disk.play(call)
        if number % every:
            continue
        for seed in ("nothing", "everything", *(randomness.randrange(1 << 32) for _ in range(4 if full else 1))):
            after = Case(world, tmp_path / f"{number} {seed}")
            disk.cut(seed, after.root)
            begin_again(after)
            tries += 1
        killed = Case(world, tmp_path / f"{number} killed")
        killed.root.mkdir()
        writer.run(killed, [f"arm {number + 1} {KILL}", "open"])
        begin_again(killed)
        tries += 1
    report(capsys, f"{tries} beginnings")


def begin_again(case: Case) -> None:
    Ledger(case.ledger).close()
    assert fsck(case.ledger, repair=True).sound
    assert fsck(case.ledger).findings == ()


@pytest.fixture(scope="module")
def interrupted(world: World, writer: Writer, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """A ledger whose writer was killed: the newest records are in the write-ahead log only."""
    case = world.case(tmp_path_factory.mktemp("interrupted") / "case")
    _, status = writer.run(case, ["open", f"append {left(world, 2, 3)}", f"arm 1 {KILL}", f"append {left(world, 4)}"])
    assert status == signal.SIGKILL
    assert Path(f"{case.ledger}-wal").stat().st_size > 4096
    return case


@pytest.mark.parametrize("full", FULL)
@pytest.mark.parametrize("name", ["", "-wal", ".evidence", ".trust.json", ".keys", ".head"])
def test_a_shortened_or_changed_file_is_named_or_did_no_harm(
    interrupted: Case,
    tmp_path: Path,
    name: str,
    full: bool,
    randomness: random.Random,
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcomes: Counter[str] = Counter()
    for number in range(60 if full else 4):
        case = Case(interrupted.world, tmp_path / str(number), dict(interrupted.acknowledged))
        shutil.copytree(interrupted.root, case.root)
        target = Path(f"{case.ledger}{name}")
        if target.is_dir():
            pattern = "log-*.key" if name == ".keys" else "*.evidence"
            target = randomness.choice(sorted(file for file in target.rglob(pattern)))
        content = bytearray(target.read_bytes())
        if number % 2:
            del content[randomness.randrange(len(content)) :]
        else:
            content[randomness.randrange(len(content))] ^= 1 << randomness.randrange(8)
        target.write_bytes(content)
        found = fsck(case.ledger)
        if name == ".head":
            assert str(target) in {finding.where for finding in found.findings}
        if found.sound:
            outcomes[examine(case)] += 1
        else:
            outcomes["named"] += 1
            named = [finding for finding in found.findings if finding.kind in (Kind.DAMAGE, Kind.REPAIRABLE)]
            assert all(finding.where and finding.what for finding in named)
            try:
                with Ledger(case.ledger) as ledger:
                    ledger.append(evidence(case, "right"))
            except SecureAggError:
                outcomes["and refused"] += 1
            else:
                with Ledger(case.ledger) as ledger:
                    assert len(ledger) == 7, "gone on with, so nothing was missing"
            if fsck(case.ledger, repair=True).sound:
                outcomes["and repaired"] += 1
                assert examine(case) == "harmless"
        shutil.rmtree(case.root)
    if name == ".evidence":
        assert not outcomes["harmless"], "no byte of it is spare"
    report(capsys, f"{dict(outcomes)}")


def evidence(case: Case, task: str) -> Evidence:
    return Evidence.from_bytes(case.world.files[task][2].read_bytes())


def examine(case: Case) -> str:
    """What fsck found nothing wrong with is whole, or the audit says what is wrong: the trust file can't be proven."""
    with Ledger(case.ledger, read_only=True) as ledger:
        case.check_content(ledger)
        try:
            ledger.audit()
        except SecureAggError:
            return "found by the audit"
    return "harmless"


def test_the_shim_sees_the_calls_that_matter(world: World, writer: Writer, tmp_path: Path) -> None:
    """Otherwise everything above would prove nothing."""
    case, log = world.case(tmp_path / "case"), tmp_path / "log"
    writer.run(case, ["open", f"append {left(world, 2)}"], log=log)
    seen = read_calls(log)
    places = {Path(call.path).name.removeprefix(NAME) for call in seen if call.kind == "S"}
    assert "-wal" in places
    assert any(".new-" in place for place in places)
    kinds = [call.kind for call in seen if call.kind != "N"]
    assert {"C", "W", "S", "R", "D"} <= set(kinds)
    signed = next(number for number, call in enumerate(seen) if call.kind == "N" and call.path.startswith("signed"))
    before = [call for call in seen[:signed] if call.path.endswith("-wal")]
    assert before[-1].kind == "S", "the records are on the disk before their head is signed"
    told = next(number for number, call in enumerate(seen) if call.kind == "N" and call.path.startswith("appended"))
    between = [call for call in seen[signed:told] if call.path.endswith("-wal")]
    assert between[-1].kind == "S", "the head is on the disk before anybody is told"
