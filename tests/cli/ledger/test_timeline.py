"""``ledger show --plot``: who was there in which phase, from evidence alone and with a coordinator's log."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from support.commands import Run
from support.frameworks.plugin_rounds import a_world, model

import secure_agg
from secure_agg.cli.ledger.timeline import SILENT, THERE, UNKNOWN, PhaseOfRound, Timeline, timeline
from secure_agg.cli.ledger.timeline_chart import draw
from secure_agg.cli.terminal import exits
from secure_agg.errors import ConfigError
from secure_agg.ledger.log import Ledger
from secure_agg.plugins.core.parcels import STEP
from secure_agg.protocol.evidence import Evidence
from secure_agg.service.logs import JsonLines

image = pytest.importorskip("matplotlib.image")

MEMBERS: Final = ("ann", "bob", "cyd", "dee", "eve", "fay", "gus")
PHASES: Final = ("advertise", "share-keys", "masked-input", "consistency", "unmask")
LOST: Final = {"cyd": "masked-input", "eve": "consistency"}


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("timeline") / "rounds.db"
    updates = {name: [np.full(50, 0.1)] for name in MEMBERS}
    secure_agg.aggregate(updates, ledger=path, dropouts=LOST, min_clients=5, task="flowers")
    secure_agg.aggregate(updates, ledger=path, min_clients=5, task="flowers")
    secure_agg.aggregate(updates, ledger=path, task="opened", backend="additive", aggregators=2)
    return path


def evidence_of(ledger: Path, index: int) -> Evidence:
    with Ledger(ledger, read_only=True) as log:
        return log.evidence(log.record(index))


def said(number: int, phase: str, answered: int, asked: int, seconds: float) -> str:
    return f"round {number} of 'flowers', phase {phase}: {answered} of {asked} clients in {seconds:.2f} s, 4321 bytes"


def log_lines() -> list[str]:
    """What a coordinator says of round 0, amid another round and other words."""
    return [
        said(7, "advertise", 2, 7, 9.0),
        "mallory is out of the round in phase masked-input: of another round",
        said(7, "masked-input", 1, 7, 9.0),
        said(0, "advertise", 7, 7, 1.5),
        "cyd is out of the round in phase share-keys: it did not answer within 3 s",
        said(0, "share-keys", 6, 7, 3.0),
        said(0, "masked-input", 6, 6, 2.0),
        "eve is out of the round in phase consistency: Refusal",
        said(0, "consistency", 5, 6, 0.25),
        "gus is out of the round in phase unmask: gone",
        said(0, "unmask", 4, 5, 0.5),
        "round 0 of 'flowers' is verified, over 6 members",
    ]


def in_words(found: Timeline) -> dict[str, str]:
    letters = {THERE: "t", SILENT: "-", UNKNOWN: "?"}
    return {name: "".join(letters[state] for state in states) for name, states in found.members.items()}


def test_evidence_says_who_was_there_and_what_nobody_knows(ledger: Path) -> None:
    found = timeline(evidence_of(ledger, 0))
    assert tuple(phase.name for phase in found.phases) == PHASES
    there = "tttt?"
    assert in_words(found) == dict.fromkeys(MEMBERS, there) | {"cyd": "t?---", "eve": "ttt--"}
    assert [phase.answered for phase in found.phases] == [7, None, 6, 5, None]
    assert found.silent_since("cyd") == "share-keys or masked-input"
    assert (found.silent_since("eve"), found.silent_since("ann")) == ("consistency", None)
    assert all(phase.seconds is None and phase.received is None for phase in found.phases)


def test_a_log_says_the_rest(ledger: Path, tmp_path: Path) -> None:
    record = logging.LogRecord("secure_agg.plugins", logging.INFO, "", 1, "%s", ("",), None)
    as_json = []
    for line in log_lines():
        record.args = (line,)
        as_json.append(JsonLines().format(record))
    written = {
        "text": [f"2026-11-30 03:10:54,599 INFO {line}" for line in log_lines()],
        "json": as_json,
        "flower": [f"INFO :      {line}" for line in log_lines()],
    }
    for name, lines in written.items():
        path = tmp_path / name
        path.write_text("\n".join(["{not json", "some other line", *lines, "[1]"]))
        found = timeline(evidence_of(ledger, 0), path)
        expected = {"cyd": "t----", "eve": "ttt--", "gus": "tttt-"}
        assert in_words(found) == dict.fromkeys(MEMBERS, "ttttt") | expected, name
        assert [phase.seconds for phase in found.phases] == [1.5, 3.0, 2.0, 0.25, 0.5]
        assert {phase.received for phase in found.phases} == {4321}
        assert found.document()["silent"] == {"cyd": "share-keys", "eve": "consistency", "gus": "unmask"}


def test_what_a_coordinator_really_logs_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "secure_agg")
    path = tmp_path / "log"

    def spoilt(kind: str, name: str, answer: bytes) -> bytes:
        return b"garbage" if (kind, name) == (STEP, "south") else answer

    with a_world() as world:
        start = model()
        first = world.coordinator.round(start, world.nodes(start, silent={"south": ("step", 3)}))
        world.coordinator.round(first.model, world.nodes(first.model, seed=1, tamper_answer=spoilt))
        evidence = [world.server.ledger.evidence(world.server.ledger.record(index)) for index in (0, 1)]
    path.write_text("\n".join(record.getMessage() for record in caplog.records))
    found = [timeline(each, path) for each in evidence]
    assert [in_words(each)["south"] for each in found] == ["tttt-", "t----"]
    assert [in_words(each)["west"] for each in found] == ["ttttt", "ttttt"]
    assert all(phase.seconds is not None and phase.received for each in found for phase in each.phases)
    assert found[0].document()["silent"] == {"south": "unmask"}


def test_a_second_attempt_in_a_log_takes_the_place_of_the_first(ledger: Path, tmp_path: Path) -> None:
    path = tmp_path / "log"
    first = [
        said(0, "advertise", 6, 7, 60.0),
        "ann is out of the round in phase share-keys: late",
        said(0, "share-keys", 5, 6, 9.0),
    ]
    path.write_text("\n".join([*first, *log_lines()]))
    found = timeline(evidence_of(ledger, 0), path)
    assert in_words(found)["ann"] == "ttttt"
    assert found.phases[0].seconds == 1.5


def test_logs_that_say_nothing_of_the_round_are_refused(ledger: Path, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("\n".join(log_lines()))
    with pytest.raises(ConfigError, match="no phase of round 1 of task 'flowers'"):
        timeline(evidence_of(ledger, 1), path)
    with pytest.raises(ConfigError, match="can't be read"):
        timeline(evidence_of(ledger, 0), tmp_path / "none")


def test_a_log_that_somebody_has_made_up_ends_nothing_and_takes_no_time(ledger: Path, tmp_path: Path) -> None:
    evidence, log = evidence_of(ledger, 0), tmp_path / "log"
    digits = "9" * 5000
    bad = (
        '{"message": ' + "[" * 100_000,
        said(0, "advertise", 7, 7, 1.0).replace("round 0", f"round {digits}"),
        said(0, "advertise", 7, 7, 1.0).replace("7 of 7", f"{digits} of 7"),
        said(0, "advertise", 7, 7, 1.0).replace("1.00", f"{digits}.0"),
        said(0, "advertise", 7, 7, 1.0).replace("4321", digits),
        ":" * 100_000 + " is out of a round",
    )
    began = time.process_time()
    for line in bad:
        log.write_text(line)
        with pytest.raises(ConfigError, match="has no phase of round 0"):
            timeline(evidence, log)
    assert time.process_time() < began + 2  # a name that was looked for from each of its characters took half a minute
    log.write_text("\n".join([*bad, *log_lines()]))
    assert timeline(evidence, log).silent_since("cyd") is not None


def test_rounds_that_operators_sign_have_a_timeline_too(ledger: Path) -> None:
    found = timeline(evidence_of(ledger, 2))
    assert set(in_words(found).values()) == {"t" * len(found.phases)}


def test_the_command_draws_it(ledger: Path, tmp_path: Path, run: Run) -> None:
    log = tmp_path / "serve.log"
    log.write_text("\n".join(log_lines()))
    plain, logged = tmp_path / "plain.png", tmp_path / "logged.png"
    assert run("ledger", "show", ledger, 0, "--task", "flowers", "--plot", plain).code == 0
    shown = run("ledger", "show", ledger, 0, "--task", "flowers", "--plot", logged, "--log", log)
    assert "cyd in share-keys, eve in consistency, gus in unmask" in shown.out
    assert "3.00 s, 4,321 bytes" in shown.out
    red = [
        np.all(abs(image.imread(path)[..., :3] - np.array([0xD0, 0x3B, 0x2F]) / 255) < 0.02, axis=-1)
        for path in (plain, logged)
    ]
    assert all(found.sum() > 50 for found in red)
    assert image.imread(logged).shape[0] > image.imread(plain).shape[0]
    document = run("ledger", "show", ledger, 0, "--task", "flowers", "--log", log, "--json").document
    assert document["timeline"]["phases"][1] == {"phase": "share-keys", "answered": 6, "seconds": 3.0, "bytes": 4321}
    assert "plot" not in document
    drawing = tmp_path / "a.svg"
    assert run("ledger", "show", ledger, 1, "--task", "flowers", "--plot", drawing, "--json").code == 0
    assert ">masked-input<" in drawing.read_text("utf-8")
    assert (
        json.loads(run("ledger", "show", ledger, 1, "--task", "flowers", "--json").out).keys() & {"timeline"} == set()
    )


def test_a_name_is_drawn_as_it_is_and_not_as_a_formula(tmp_path: Path) -> None:
    name, drawing = r"$\bad{$", tmp_path / "a.svg"
    draw(Timeline((PhaseOfRound("advertise", 1),), {name: (THERE,)}), f"of {name}", drawing)
    assert drawing.read_text("utf-8").count(name) == 2


def test_another_kind_of_file_is_refused_before_anything(ledger: Path, tmp_path: Path, run: Run) -> None:
    found = run("ledger", "show", ledger, 0, "--task", "flowers", "--plot", tmp_path / "a.gif")
    assert found.code == exits.USAGE
    assert "a.gif is no name of a picture" in found.err
    assert list(tmp_path.iterdir()) == []
