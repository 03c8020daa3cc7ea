"""The commands put together, and ``main``, which runs one and exits with its code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer
from typer.completion import completion_init  # type: ignore[attr-defined]

from secure_agg._version import __version__
from secure_agg.cli import beacon, exits, federation, streams
from secure_agg.cli.backends import list_backends
from secure_agg.cli.bench import bench
from secure_agg.cli.completion import VARIABLE, show_completion
from secure_agg.cli.demo.demo import demo
from secure_agg.cli.epilog import epilog
from secure_agg.cli.epochs import changing
from secure_agg.cli.keygen import keygen
from secure_agg.cli.ledger import ledger
from secure_agg.cli.ledger.explore import explore
from secure_agg.cli.logs import log_to_stderr
from secure_agg.cli.operators import aggregator, keyholder
from secure_agg.cli.output import JSON_FLAG
from secure_agg.cli.plan import plan
from secure_agg.cli.service import trust
from secure_agg.cli.service.client import client
from secure_agg.cli.service.serve import serve
from secure_agg.cli.stats.asking import ask
from secure_agg.cli.verify import model
from secure_agg.cli.verify.verify import verify_evidence

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},  # of all commands below, too
    epilog=epilog("secure-agg demo", "secure-agg -v ledger audit rounds.db", 'eval "$(secure-agg completion bash)"'),
    help="Secure aggregation for federated learning whose result anyone can check.",
)
app.command("demo", epilog=epilog("secure-agg demo", "secure-agg demo --dataset digits --tamper"))(demo)
app.command("backends", epilog=epilog("secure-agg backends", "secure-agg backends --json", codes=False))(list_backends)
app.command(
    "verify",
    epilog=epilog(
        "secure-agg verify round.evidence --trust rounds.db.trust.json",
        "secure-agg verify round.evidence --trust mine.json --receipt round.tlog-proof",
        "secure-agg verify round.evidence --trust mine.json --model model.npz",
    ),
)(verify_evidence)
app.add_typer(ledger.app, name="ledger")
app.command(
    "explore",
    epilog=epilog(
        "secure-agg explore rounds.db", "secure-agg explore public/ --no-browser", "secure-agg explore --digest"
    ),
)(explore)
app.add_typer(model.app, name="model")
app.command("keygen", epilog=epilog("secure-agg keygen clinic-a --out clinic-a.key", codes=False))(keygen)
app.command(
    "plan",
    epilog=epilog(
        "secure-agg plan --parameters 1000000 --clients 100",
        "secure-agg plan --parameters 1000000 --clients 100 --servers 3 --post-quantum",
    ),
)(plan)
app.add_typer(keyholder.app, name="keyholder")
app.add_typer(aggregator.app, name="aggregator")
federation.app.command(
    "propose",
    epilog=epilog(
        "secure-agg federation propose homes/server --join clinic-d=HEX --out next.epoch",
        "secure-agg federation propose rounds.db --clip 0.5 --out next.epoch",
        "secure-agg federation propose homes/server --restart second --model start.npz --out next.epoch",
    ),
)(changing.propose)
federation.app.command(
    "approve",
    epilog=epilog(
        "secure-agg federation approve next.epoch --home home",
        "secure-agg federation approve next.epoch --name clinic-d --identity clinic-d.key --trust trust.json",
    ),
)(changing.approve)
federation.app.command(
    "status",
    epilog=epilog(
        "secure-agg federation status homes/server",
        "secure-agg federation status homes/server a.epoch b.epoch --submit",
        "secure-agg federation status homes/server --epochs epochs.file",
    ),
)(changing.status)
app.add_typer(federation.app, name="federation")
app.command(
    "serve",
    epilog=epilog(
        "secure-agg serve --home homes/server --model start.npz --listen 0.0.0.0:8470",
        "secure-agg serve --home one --home two --monitor 127.0.0.1:9470 --log-json",
    ),
)(serve)
app.command(
    "client",
    epilog=epilog(
        "secure-agg client https://coordinator.example:8470 --home home --update counts.npz --out result",
        "secure-agg client https://coordinator.example:8470 --home home --command 'python train.py' --rounds 20",
    ),
)(client)
app.add_typer(trust.app, name="trust")
app.command(
    "stats",
    epilog=epilog(
        "secure-agg stats quantile north.csv south.csv west.csv --column age --range age=0:120",
        "secure-agg stats kaplan_meier *.csv --column weeks --column died --edges 1:52:1 --group arm --levels arm=a,b",
        "secure-agg stats mean mine.csv --column age --url https://coordinator.example:8470 --home home --rules mine.toml",
    ),
)(ask)
app.add_typer(beacon.app, name="beacon")
app.command(
    "bench",
    add_help_option=False,  # --help is the suites' own
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(bench)
app.command("completion", epilog=epilog('eval "$(secure-agg completion bash)"', codes=False))(show_completion)


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
