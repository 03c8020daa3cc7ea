"""The commands by name, and ``main``, which runs one and exits with its code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Final, NoReturn

import typer
from typer.completion import completion_init  # type: ignore[attr-defined]

from secure_agg._version import __version__
from secure_agg.cli.completion import VARIABLE
from secure_agg.cli.later import Later, group_of
from secure_agg.cli.terminal import exits, streams
from secure_agg.cli.terminal.epilog import epilog
from secure_agg.cli.terminal.exits import JSON_FLAG
from secure_agg.cli.terminal.logs import log_to_stderr

_COMMANDS: Final = (
    Later(
        "demo",
        "secure_agg.cli.demo.demo:demo",
        "Train a model over several hospitals in secure rounds, losing clients on the way, and compare.",
        epilog=epilog("secure-agg demo", "secure-agg demo --dataset digits --tamper"),
    ),
    Later(
        "backends",
        "secure_agg.cli.backends:list_backends",
        "Show each installed backend: who must be trusted with what, dropouts, quantum computers, limits, options.",
        epilog=epilog("secure-agg backends", "secure-agg backends --json", codes=False),
    ),
    Later(
        "verify",
        "secure_agg.cli.verify.verify:verify_evidence",
        "Check that a round's result is the sum of what its participants committed to; or a proof of fault.",
        epilog=epilog(
            "secure-agg verify round.evidence --trust rounds.db.trust.json",
            "secure-agg verify round.evidence --trust mine.json --receipt round.tlog-proof",
            "secure-agg verify round.evidence --trust mine.json --model model.npz",
        ),
    ),
    Later(
        "explore",
        "secure_agg.cli.ledger.explore:explore",
        "Look at a ledger in the browser, which verifies all of it by itself: signatures, tree, sums, proofs.",
        epilog=epilog(
            "secure-agg explore rounds.db", "secure-agg explore public/ --no-browser", "secure-agg explore --digest"
        ),
    ),
    Later(
        "keygen",
        "secure_agg.cli.keygen:keygen",
        "Make an Ed25519 identity: the private key goes to a new file, the public key is printed.",
        epilog=epilog("secure-agg keygen clinic-a --out clinic-a.key", codes=False),
    ),
    Later(
        "plan",
        "secure_agg.cli.plan:plan",
        "Predict seconds, bytes and memory of each role in a round, and recommend a backend; and a norm bound.",
        epilog=epilog(
            "secure-agg plan --parameters 1000000 --clients 100",
            "secure-agg plan --parameters 1000000 --clients 100 --servers 3 --post-quantum",
        ),
    ),
    Later(
        "check",
        "secure_agg.cli.preflight.check:check",
        "Say what a policy or a home is worth before a round is made: what it bears, costs and leaves open.",
        epilog=epilog(
            "secure-agg check --preset hospitals --clients 12 --parameters 10000",
            "secure-agg check homes/server --limit seconds=60 --limit dropouts=2",
            "secure-agg check policy.toml --records",
        ),
    ),
    Later(
        "serve",
        "secure_agg.cli.service.serve:serve",
        "Coordinate tasks over HTTPS, until SIGTERM or, with --end-seconds, until all rounds are made.",
        epilog=epilog(
            "secure-agg serve --home homes/server --model start.npz --listen 0.0.0.0:8470",
            "secure-agg serve --home one --home two --monitor 127.0.0.1:9470 --log-json",
        ),
    ),
    Later(
        "client",
        "secure_agg.cli.service.client:client",
        "Take part in a task's rounds: contribute an update, and wait for the verified mean.",
        epilog=epilog(
            "secure-agg client https://coordinator.example:8470 --home home --update counts.npz --out result",
            "secure-agg client https://coordinator.example:8470 --home home --command 'python train.py' --rounds 20",
        ),
    ),
    Later(
        "stats",
        "secure_agg.cli.stats.asking:ask",
        "A statistic of all sites' records together: nobody sees a site's share of it.",
        epilog=epilog(
            "secure-agg stats quantile north.csv south.csv west.csv --column age --range age=0:120",
            "secure-agg stats kaplan_meier *.csv --column weeks --column died --edges 1:52:1 --group arm "
            "--levels arm=a,b",
            "secure-agg stats mean mine.csv --column age --url https://coordinator.example:8470 --home home "
            "--rules mine.toml",
        ),
    ),
    Later(
        "bench",
        "secure_agg.cli.bench:bench",
        "Run benchmark suites, or report on them: everything after `bench` goes to `python -m benchmarks`.",
        add_help_option=False,  # --help is the suites' own
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    ),
    Later(
        "completion",
        "secure_agg.cli.completion:show_completion",
        "Print the script that completes `secure-agg` in a shell. Nothing is installed: you say where it goes.",
        epilog=epilog('eval "$(secure-agg completion bash)"', codes=False),
    ),
    Later("ledger", "secure_agg.cli.ledger.ledger:app", "Look into a ledger, audit, publish and witness it."),
    Later(
        "model",
        "secure_agg.cli.verify.model:app",
        "Look at a model in a file: npz, npy, safetensors or a PyTorch state dict.",
    ),
    Later(
        "keyholder",
        "secure_agg.cli.operators.keyholder:app",
        "Set up and run the key holders of a homomorphic backend.",
    ),
    Later(
        "aggregator",
        "secure_agg.cli.operators.aggregator:app",
        "Run one of the aggregators that hold a share of every update each.",
    ),
    Later(
        "federation",
        "secure_agg.cli.federation.whole:FEDERATION",
        "Make the homes that the service, Flower and NVFlare work from, and change them by epochs.",
    ),
    Later("trust", "secure_agg.cli.service.trust:app", "Look at what is pinned, before anything is believed by it."),
    Later("beacon", "secure_agg.cli.beacon:app", "Pin, look at or rehearse the public beacon that draws cohorts."),
)
"""Every command, in the order of the list; its module is imported when it runs, and a test compares the lines."""

app = typer.Typer(
    cls=group_of(*_COMMANDS),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},  # of all commands below, too
    epilog=epilog("secure-agg demo", "secure-agg -v ledger audit rounds.db", 'eval "$(secure-agg completion bash)"'),
    help="Secure aggregation for federated learning whose result anyone can check.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"secure-agg {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log what the library does to stderr, a line for each phase.")
    ] = False,
) -> None:
    """Options of all commands."""
    if verbose:
        context.with_resource(log_to_stderr())


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit.

    Args:
        arguments: without the program's name; the process's own by default.

    Raises:
        SystemExit: always, with a code of ``exits``; for an unexpected exception after its traceback.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with streams.guarded():
            code = _run(given)
    except streams.OutputLost as error:
        code = exits.lost(error, as_json=JSON_FLAG in given)
    sys.exit(code)


def _run(given: Sequence[str]) -> int:
    if VARIABLE in os.environ:  # a shell asks what could come next, in the words of the scripts of «completion»
        completion_init()
    try:
        return app(list(given), prog_name="secure-agg", standalone_mode=False) or exits.OK
    except streams.OutputLost:
        raise
    except Exception as error:
        code = exits.exit_code(error)
        if code == exits.BUG:
            sys.excepthook(type(error), error, error.__traceback__)
        else:
            # Looked for here and not in the parsed options: a usage error has none.
            exits.report(error, as_json=JSON_FLAG in given)
        return code
