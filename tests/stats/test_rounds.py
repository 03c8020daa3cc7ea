"""Statistics by real rounds: in one process, with privacy, from the command line, and by members of a service."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lifelines import KaplanMeierFitter
from lifelines.datasets import load_waltons
from rich.console import Console
from support.federation import identity
from support.service.world import NAMES, TASK, World

from secure_agg import Ledger, Privacy, Trust, connect, pictures, stats, verify
from secure_agg.cli import main
from secure_agg.cli.stats import asking
from secure_agg.errors import BudgetSpent, ConfigError, OperatorLost, QueryRefused, WrongContext
from secure_agg.plugins.core import parcels
from secure_agg.plugins.core.instructions import Instructions
from secure_agg.plugins.core.parcels import Parcel
from secure_agg.plugins.homes import federation
from secure_agg.plugins.homes.client import ClientHome
from secure_agg.plugins.homes.server import ServerHome
from secure_agg.protocol.config import Policy
from secure_agg.protocol.messages import RESULT, write
from secure_agg.service.link import Arrived
from secure_agg.service.server import begin
from secure_agg.service.session import Session
from secure_agg.stats import LocalFederation, MemberFederation, Rules, Site, Table, plots
from secure_agg.stats.question import Question
from secure_agg.stats.results import Curve, Histogram

FRAME: Any = load_waltons()
PARTS = {f"lab-{place}": FRAME.iloc[place::3] for place in range(3)}


def test_rounds_give_what_pandas_gives_with_evidence_and_receipts(tmp_path: Path) -> None:
    sites = LocalFederation(PARTS, rules=Rules(min_count=1), ledger=tmp_path / "stats.db")
    mean = stats.mean(sites, "T", 0, 128)
    assert mean.value == pytest.approx(FRAME["T"].mean(), abs=mean.error)
    assert mean.participants == tuple(PARTS)
    middle = stats.quantile(sites, "T", 0.5, 0, 128, bins=64, rounds=2)
    assert abs(middle.value - np.quantile(FRAME["T"], 0.5, method="inverted_cdf")) <= middle.error
    trust = Trust.load(tmp_path / "stats.db.trust.json")
    for number, proof in enumerate((*mean.rounds, *middle.rounds)):
        assert verify(proof.evidence, trust).record == proof.record
        assert proof.record.round == number
        assert proof.receipt is not None
    with Ledger(tmp_path / "stats.db") as ledger:
        ledger.audit()


def test_a_site_that_does_not_answer_is_named_here_and_nothing_is_asked() -> None:
    strict = Site(Table.of(PARTS["lab-0"]), Rules(functions=("count",)))
    sites = LocalFederation(PARTS | {"lab-0": strict})
    with pytest.raises(QueryRefused, match=r"site 'lab-0' does not answer: .* does not allow mean"):
        stats.mean(sites, "T", 0, 128)


def test_with_privacy_results_have_noise_that_is_said_and_a_budget_that_ends(tmp_path: Path) -> None:
    many = {f"lab-{place}": FRAME.iloc[place::8] for place in range(8)}
    with pytest.raises(ConfigError, match="privacy needs a ledger"):
        LocalFederation(many, privacy=Privacy(epsilon=8, delta=1e-3, norm=1))
    budget = Privacy(epsilon=8, delta=1e-3, norm=1.5, rounds=1)
    sites = LocalFederation(many, rules=Rules(min_count=1), privacy=budget, ledger=tmp_path / "p.db", min_clients=7)
    with pytest.raises(ConfigError, match="no form with differential privacy"):
        stats.logistic_regression(sites, "E", ["T"], {"T": (0, 80)})
    found = stats.count(sites, records=32)
    assert 0 < found.noise < 163
    assert abs(found.value - len(FRAME)) < 8 * found.noise
    assert found.rounds[0].record.claim == "dp-sum"
    with pytest.raises(ConfigError, match="budget is spent"):
        stats.count(sites, records=32)


def command(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    with pytest.raises(SystemExit) as done:
        main(["stats", *words, "--json"])
    out = capsys.readouterr()
    return json.loads(out.out) if done.value.code == 0 else (done.value.code, json.loads(out.err.splitlines()[-1]))


def test_the_command_asks_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = []
    for name, part in PARTS.items():
        part.to_csv(tmp_path / f"{name}.csv", index=False)
        files.append(str(tmp_path / f"{name}.csv"))
    found = command(capsys, "quantile", *files, "--column", "T", "--range", "T=0:128", "--min-count", "1")
    assert abs(found["value"] - np.quantile(FRAME["T"], 0.5, method="inverted_cdf")) <= found["error"]
    picture = tmp_path / "curves.svg"
    found = command(
        capsys, "kaplan_meier", *files, "--column", "T", "--column", "E", "--edges", "1:80:1", "--group", "group",
        "--levels", "group=control,miR-137", "--min-count", "1", "--plot", str(picture),
    )  # fmt: skip
    control = FRAME[FRAME["group"] == "control"]
    fitter = KaplanMeierFitter().fit(control["T"], control["E"])
    assert found["curves"]["control"]["median"] == fitter.median_survival_time_
    assert picture.stat().st_size > 1000
    assert command(capsys, "mean", *files, "--column", "group")[0] == 2
    assert command(capsys, "mean", *files, "--column", "T", "--where", "T~3")[0] == 2
    assert command(capsys, "median", *files, "--column", "T")[0] == 2
    assert command(capsys, "quantile", files[0], "--column", "T")[0] == 2


def test_what_was_asked_for_is_shown_first_and_every_number_says_what_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Naively a matrix is a row of numbers, curves have no times, and a mean stands below all that is beside it."""
    files = [str(tmp_path / f"{name}.csv") for name in PARTS]
    for name, path in zip(PARTS, files, strict=True):
        PARTS[name].to_csv(path, index=False)

    def shown(*words: str) -> list[str]:
        with pytest.raises(SystemExit):
            main(["stats", *words, "--min-count", "1"])
        return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]

    assert shown("mean", *files, "--column", "T", "--range", "T=0:128")[:2] == [
        "function mean",
        f"value {FRAME['T'].mean():.10g}",
    ]
    found = shown("correlation", *files, "--column", "T", "--column", "E", "--range", "T=0:128", "--range", "E=0:1")
    assert found[1].startswith("T, E ")
    assert float(found[1].removeprefix("T, E ")) == pytest.approx(FRAME["T"].corr(FRAME["E"]))
    assert not any(line.startswith("noises") for line in found)
    sides = ("--column", "E", "--column", "group", "--levels", "E=0,1", "--levels", "group=control,miR-137")
    cells = shown("contingency", *files, *sides)[1:5]
    assert cells[3] == f"1, miR-137 {((FRAME['E'] == 1) & (FRAME['group'] == 'miR-137')).sum()}"
    found = shown("kaplan_meier", *files, "--column", "T", "--column", "E", "--edges", "20:80:20")
    assert found[1] == "times 20 40 60 80"
    assert len(found[2].removeprefix("survival all ").split()) == 4
    with pytest.raises(SystemExit):
        main(["stats", "quantile", files[0], "--column", "T"])
    assert "of fewer than 3 sites each would know" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["stats", "mean", *files, "--column", "age"])
    assert "has no column 'age'; it has 'T', 'E', 'group'" in capsys.readouterr().err.replace("\n", " ")


def test_noise_in_one_coefficient_that_is_too_much_is_not_said_of_all(capsys: pytest.CaptureFixture[str]) -> None:
    document: dict[str, Any] = {"function": "linear_regression", "coefficients": {"intercept": 2.0, "T": 0.5}}
    asking._show(Console(), document | {"noises": {"intercept": 0.25, "T": None}, "noise": None})
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert said[3:] == ["noises intercept 0.25", "noises T –", "noise too much to say anything of some of them"]
    asking._show(Console(), {"function": "mean", "value": 1.0, "noise": None})
    assert "too much to say anything of the value" in capsys.readouterr().out


def test_pictures_name_their_column_show_noise_and_leave_out_what_is_not_known(tmp_path: Path) -> None:
    """Naively a curve goes on as a line where noise leaves nothing known, and its last step is the picture's edge."""
    times = np.array([5.0, 10.0, 20.0])
    values = np.array([0.9, 0.5, 0.5])
    curve = Curve(
        times=times, survival=values, lower=values, upper=values, at_risk=values, events=values, censored=values,
        median=10.0, noise=np.array([0.1, 0.1, np.inf]),
    )  # fmt: skip
    axes = pictures.begin(3, 2).add_subplot()
    plots._draw(axes, "all", curve)
    drawn = axes.get_lines()[0].get_xydata()
    assert drawn.tolist() == [[0, 1], [5, 0.9], [10, 0.5], [10.4, 0.5]]
    for noise in (0.0, 3.0):
        bins = Histogram(counts=values, edges=np.arange(4.0), column="T", records=2, weight=2, noise=noise)
        stats.plot(bins, tmp_path / "bins.svg")
        text = (tmp_path / "bins.svg").read_text("utf-8")
        assert ">T<" in text
        assert ("LineCollection" in text) == bool(noise)


class Statistics(World):
    """A federation whose model is for answers: zeros, and homes that take any."""

    def __init__(self, folder: Path, size: int, **policy: Any) -> None:
        self.folder, self.names = folder, NAMES[:3]
        self.policy = Policy.default(3, **{"bits": 24, "clip": 1.0} | policy)
        np.savez(folder.parent / "start.npz", answers=np.zeros(size))
        federation.make(folder, self.names, self.policy, task=TASK, parameters=size, checks_model=False)
        self.server = folder / "server"
        with ServerHome.open(self.server) as home:
            begin(home, folder.parent / "start.npz")


@pytest.mark.slow
def test_members_of_a_service_come_to_the_same_exact_results_each_by_itself(tmp_path: Path) -> None:
    """Three questions in four rounds: the second is longer than the model, and the model moves by each."""
    world = Statistics(tmp_path / "homes", 96)
    found: dict[str, Any] = {}

    def ask(name: str, part: Any, url: str) -> None:
        with connect(url, world.home(name), patience=300) as session:
            sites = MemberFederation(session, Site(Table.of(part), Rules(min_count=1)))
            found[name] = (
                stats.variance(sites, "T", 0, 128, records=1 << 15),
                stats.histogram(sites, "T", np.arange(0, 129), records=1 << 15),
                stats.sum(sites, "T", 0, 128, records=1 << 15, where=[("group", "==", "control")]),
            )

    with world.served("--rounds", "4") as service:
        threads = [
            threading.Thread(target=ask, args=(name, part, service.url), daemon=True)
            for name, part in zip(world.names, PARTS.values(), strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(600)
    assert sorted(found) == sorted(world.names)
    for variance, histogram, total in found.values():
        assert variance.value == pytest.approx(FRAME["T"].var(), abs=variance.error)
        assert (histogram.counts == np.histogram(FRAME["T"], np.arange(0, 129))[0]).all()
        assert [proof.record.round for proof in (*variance.rounds, *histogram.rounds, *total.rounds)] == [0, 1, 2, 3]
        assert total.value == FRAME["T"][FRAME["group"] == "control"].sum()
    # Naively a server that hands out a model which differs by two questions' marks has one answered by another's sums.
    shown = [proof for part in found[world.names[0]] for proof in part.rounds]
    assert answers_by_replay(world.home(world.names[0]), shown, "") is None


class Replaying:
    """What a service sends that answers with results which it has shown before: as one that is over, or was missed."""

    waiting = 0

    def __init__(self, shown: list[Any]) -> None:
        results = [
            Parcel(
                parcels.RESULT,
                (write(identity("m"), bytes(32), RESULT, "", b"", proof.evidence.to_bytes()), proof.receipt.to_bytes()),
            )
            for proof in shown
        ]
        missed = [Parcel(parcels.LEARN, (proof.evidence.to_bytes(), proof.receipt.to_bytes())) for proof in shown]
        self.left = [Arrived(str(place), parcel.to_bytes(), None) for place, parcel in enumerate((*results, *missed))]

    def next(self, limit: int) -> Arrived:
        if not self.left:
            raise OperatorLost("all was shown")
        return self.left.pop(0)

    def answer(self, item: str, data: bytes) -> bool:
        return Parcel.from_bytes(data).kind in (parcels.VERIFIED, parcels.KNOWN)

    def close(self) -> None:
        """There is nothing to close."""


def answers_by_replay(home: Path, shown: list[Any], question: str) -> Any:
    """What a contribution to a question comes to with a service that only replays; None where to nothing."""

    def update(model: Any) -> Any:
        raise AssertionError("nobody has asked for it")

    opened = ClientHome.open(home)
    with Session(opened, Replaying(shown), lambda: None) as session:  # type: ignore[arg-type]
        try:
            return session.contribute(update, about=question)
        except OperatorLost:
            return None


@pytest.mark.slow
def test_members_of_a_service_have_the_same_noisy_results_and_none_who_asks_something_else(tmp_path: Path) -> None:
    """Noise would hide that a member answers another question: what it asks is in what it signs."""
    budget = Privacy(epsilon=24.0, delta=1e-5, norm=1.0, rounds=2)
    world = Statistics(tmp_path / "homes", 16, privacy=budget, min_clients=3)
    words: Any = {"missing": "drop", "outside": "clip", "records": 64}
    found: dict[str, Any] = {}
    refused: list[Exception] = []

    def ask(name: str, part: Any, url: str) -> None:
        with connect(url, world.home(name), patience=300) as session:
            sites = MemberFederation(session, Site(Table.of(part), Rules(min_count=1)))
            if name == world.names[0]:
                try:
                    stats.mean(sites, "T", 0, 64, **words)
                except WrongContext as error:
                    refused.append(error)
            found[name] = [stats.mean(sites, "T", 0, 128, **words), stats.count(sites, records=64)]
            with pytest.raises(BudgetSpent, match="number 3"):
                stats.count(sites, records=64)

    with world.served("--rounds", "2") as service:
        threads = [
            threading.Thread(target=ask, args=(name, part, service.url), daemon=True)
            for name, part in zip(world.names, PARTS.values(), strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(600)
    assert sorted(found) == sorted(world.names), world.log()
    assert len(refused) == 1
    assert len({(mean.value, count.value, count.noise) for mean, count in found.values()}) == 1
    mean, count = found[world.names[0]]
    assert abs(count.value - len(FRAME)) <= 8 * count.noise
    shown = [*mean.rounds, *count.rounds]
    assert [proof.record.claim for proof in shown] == ["dp-sum", "dp-sum"]
    # Naively the result of whatever was asked before is taken for that of another question, or of the same asked anew.
    again = Question(function="count", records=64).digest().hex()
    assert Instructions.of(about=again).digest == shown[1].evidence.config.instructions
    for question in ("another", again):
        assert answers_by_replay(world.home(world.names[0]), shown, question) is None
