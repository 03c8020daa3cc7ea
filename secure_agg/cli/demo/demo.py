"""``secure-agg demo``: federated training in secure rounds, measured against plain and centralised training;
with ``--tamper``, what happens when the aggregator cheats; with ``--poison``, when a client does.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from itertools import count
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console

from secure_agg import extras, files
from secure_agg.backends import load as load_backend
from secure_agg.cli.demo import chart, experiment, influence, poison, poison_chart, tamper
from secure_agg.cli.demo.costs import costs
from secure_agg.cli.demo.influence_report import document_of as influence_document
from secure_agg.cli.demo.influence_report import show_influence
from secure_agg.cli.demo.poison_report import document_of as poison_document
from secure_agg.cli.demo.poison_report import show_poisoning
from secure_agg.cli.demo.report import document_of, show_tampering, show_training, tampering_document
from secure_agg.cli.terminal import exits
from secure_agg.cli.terminal.output import JsonOption, emit
from secure_agg.cli.terminal.progress import progress
from secure_agg.errors import ConfigError
from secure_agg.executing import HERE, Executor, executor_of
from secure_agg.executing.named import NAMES as EXECUTORS
from secure_agg.fl import datasets
from secure_agg.fl.fedavg import Model, run_federated
from secure_agg.ledger.log import Ledger
from secure_agg.protocol.habits import USUAL

ROUNDS: Final = 10
TAMPER_ROUNDS: Final = 3
POISON_ROUNDS: Final = 6
LEDGER_FILE: Final = "rounds.db"
CHART_FILE: Final = "demo.png"
TAMPERED_FILE: Final = "tampered.evidence"
POISON_FILE: Final = "poison.png"


def demo(
    dataset: Annotated[
        str, typer.Option(help="breast-cancer (5 hospitals of unequal sizes) or digits (10 clients).")
    ] = "breast-cancer",
    backend: Annotated[
        str | None,
        typer.Option(
            help=f"How updates are hidden: see secure-agg backends. By default {USUAL}. With --poison, "
            f"{poison.BACKEND} shows what its parties compute on shares, and every other one what a proved norm bound "
            "does."
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Rounds of training; by default {ROUNDS}, with --tamper {TAMPER_ROUNDS}, with --poison "
            f"{POISON_ROUNDS}.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws split, start model, shuffles and lost clients.")] = 7,
    output: Annotated[
        Path, typer.Option(help="Each run makes a new folder in here, DATASET-1, DATASET-2, …; nothing is deleted.")
    ] = Path("demo-output"),
    tampering: Annotated[
        bool,
        typer.Option("--tamper", help="Let the aggregator alter the last round's sum. Exits with 1: it is caught."),
    ] = False,
    poisoned: Annotated[
        bool, typer.Option("--poison", help="Let one client send poison, and compare what keeps it out unseen.")
    ] = False,
    norm_bound: Annotated[
        float | None,
        typer.Option(
            "--norm-bound",
            metavar="B",
            help="Bound every client's influence: its update has an L2 norm of at most B, or its weight's share of it, "
            "and it proves that.",
        ),
    ] = None,
    executor: Annotated[
        str, typer.Option(metavar="EXECUTOR", help=f"Where rounds are worked on: {EXECUTORS}. For the training alone.")
    ] = HERE,
    as_json: JsonOption = False,
) -> None:
    """Train a model over several hospitals in secure rounds, losing clients on the way, and compare.

    The same training runs three times from the same seeds: with secure averaging, with plain averaging, and
    with all data in one place. It leaves a ledger with the evidence of every round, and a chart, in a new
    folder below --output. With --tamper it stops after the secure training and shows who notices.

    With --poison one site with 0.6 % of the data sends updates scaled up, turned round, or with a backdoor. The
    training runs with plain means and with a norm bound that every client proves, and, where CrypTen is installed, with
    a norm bound, a trimmed mean and a median that parties compute on shares. With --backend crypten it is these alone.
    """
    if dataset not in datasets.NAMES:
        raise ConfigError(f"there is no data set {dataset!r}: {', '.join(datasets.NAMES)}")
    if tampering and poisoned:
        raise ConfigError("--tamper and --poison are two demonstrations: choose one")
    if norm_bound is not None and (tampering or poisoned):
        raise ConfigError("--norm-bound is for the demonstration that trains, without --tamper or --poison")
    if executor != HERE and (tampering or poisoned):
        raise ConfigError("--executor is for the demonstration that trains, without --tamper or --poison")
    backend = backend or USUAL
    kind = load_backend(backend)
    on_shares = poisoned and backend == poison.BACKEND
    if poisoned and not on_shares and kind.unbounded:
        raise ConfigError(f"--poison is about norm bounds, and backend {backend!r} has none: {kind.unbounded}")
    extras.require("demo")
    if on_shares:
        poison.require()
    number = rounds if rounds is not None else _default_rounds(tampering, poisoned)
    if tampering and number < 2:
        raise ConfigError("--tamper needs at least 2 rounds: an honest one first")
    workers = executor_of(executor)
    federation = datasets.load(dataset, seed)
    folder = _new_folder(output, dataset)
    if on_shares:
        _poisoned(federation, number, seed, folder, as_json)
    elif poisoned:
        _influenced(federation, backend, number, seed, folder, as_json)
    elif tampering:
        _tampered(federation, backend, number, seed, folder, as_json)
    else:
        with workers:
            _trained(federation, backend, number, seed, folder, norm_bound, workers, as_json)


def _default_rounds(tampering: bool, poisoned: bool) -> int:
    if tampering:
        return TAMPER_ROUNDS
    return POISON_ROUNDS if poisoned else ROUNDS


def _new_folder(output: Path, dataset: str) -> Path:
    """The next free ``DATASET-n`` below ``output``, made. Earlier runs stay as they are."""
    output.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        folder = output / f"{dataset}-{number}"
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        break
    return folder


def _audit_command(folder: Path) -> str:
    return f"secure-agg ledger audit {shlex.quote(str(folder / LEDGER_FILE))}"


def _trained(
    federation: datasets.Federation,
    backend: str,
    rounds: int,
    seed: int,
    folder: Path,
    norm_bound: float | None,
    executor: Executor,
    as_json: bool,
) -> None:
    training = experiment.training_for(federation.name, rounds, seed)
    with progress() as bar:
        lines = {name: bar.add_task(f"{name:12}", total=rounds, note="") for name in ("secure", "plain", "centralised")}

        def watch(name: str, done: int, accuracy: float) -> None:
            bar.update(lines[name], completed=done, note=f"accuracy {accuracy:.3f}")

        found = experiment.run(federation, training, backend, folder / LEDGER_FILE, watch, norm_bound, executor)
    price = costs(found)
    chart.draw(found, price, backend, folder / CHART_FILE)
    paths = {
        "folder": str(folder),
        "ledger": str(folder / LEDGER_FILE),
        "chart": str(folder / CHART_FILE),
        "audit": _audit_command(folder),
    }
    emit(
        document_of(found, price, backend) | paths,
        as_json,
        lambda console: show_training(console, found, price, backend, paths),
    )


def _tampered(
    federation: datasets.Federation, backend: str, rounds: int, seed: int, folder: Path, as_json: bool
) -> None:
    """Honest rounds, then one with the tampering aggregator, which ends the run with exit code 1."""
    path = folder / LEDGER_FILE
    clients = tuple(federation.clients)
    losses = experiment.plan_losses(clients, experiment.phases_of(backend, clients), rounds - 1, seed)
    altered: list[tamper.TamperedRound] = []

    def average(number: int, updates: Mapping[str, Model], weights: Mapping[str, int]) -> list[npt.NDArray[Any]]:
        if number < rounds - 1:
            loss = losses.get(number)
            return experiment.secure_average(path, federation.name, backend, updates, weights, loss).average
        coordinate = int(np.random.default_rng(seed).integers(sum(array.size for array in updates[clients[0]])))
        altered.append(tamper.run_tampered(path, federation.name, updates, weights, coordinate))
        return [np.zeros_like(array) for array in updates[clients[0]]]  # refused: the model stays as it is

    with progress() as bar:
        line = bar.add_task("secure", total=rounds, note="")
        run_federated(
            federation,
            experiment.training_for(federation.name, rounds, seed),
            average,
            lambda done, accuracy: bar.update(line, completed=done, note=f"accuracy {accuracy:.3f}"),
        )
    (found,) = altered
    files.create(folder / TAMPERED_FILE, found.evidence.to_bytes(), mode=0o644)
    with Ledger(path, read_only=True) as ledger:
        audited = ledger.audit()
    paths = {
        "folder": str(folder),
        "ledger": str(path),
        "evidence": str(folder / TAMPERED_FILE),
        "audit": _audit_command(folder),
    }

    def show(console: Console) -> None:
        show_tampering(console, found, audited, paths)

    emit(tampering_document(found, audited, federation.name, backend) | paths, as_json, show)
    if found.caught:
        raise typer.Exit(exits.VERIFICATION_FAILED)


def _poisoned(federation: datasets.Federation, rounds: int, seed: int, folder: Path, as_json: bool) -> None:
    training = experiment.training_for(federation.name, rounds, seed)
    with progress() as bar:
        lines = {name: bar.add_task(f"{title:33}", total=rounds, note="") for name, title in poison.TITLES.items()}

        def watch(name: str, done: int, accuracy: float) -> None:
            bar.update(lines[name], completed=done, note=f"accuracy {accuracy:.3f}")

        found = poison.run(federation, training, folder / LEDGER_FILE, watch)
    poison_chart.draw(found, folder / POISON_FILE)
    paths = {
        "folder": str(folder),
        "ledger": str(folder / LEDGER_FILE),
        "chart": str(folder / POISON_FILE),
        "audit": _audit_command(folder),
    }
    emit(poison_document(found) | paths, as_json, lambda console: show_poisoning(console, found, paths))


def _influenced(
    federation: datasets.Federation, backend: str, rounds: int, seed: int, folder: Path, as_json: bool
) -> None:
    training = experiment.training_for(federation.name, rounds, seed)
    functions = poison.is_there()
    with progress() as bar:
        lines = {name: bar.add_task(f"{name:22}", total=rounds, note="") for name in influence.titles(functions)}

        def watch(name: str, done: int, accuracy: float) -> None:
            bar.update(lines[name], completed=done, note=f"accuracy {accuracy:.3f}")

        found = influence.run(federation, training, backend, folder / LEDGER_FILE, watch, functions=functions)
    paths = {"folder": str(folder), "ledger": str(folder / LEDGER_FILE), "audit": _audit_command(folder)}
    emit(
        influence_document(found, backend) | paths,
        as_json,
        lambda console: show_influence(console, found, backend, paths),
    )
