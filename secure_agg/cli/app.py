"""The commands put together, and ``main``, which runs one and exits with its code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from secure_agg._version import __version__
from secure_agg.cli import exits, federation
from secure_agg.cli.backends import list_backends
from secure_agg.cli.bench import bench
from secure_agg.cli.demo.demo import demo
from secure_agg.cli.keygen import keygen
from secure_agg.cli.ledger import ledger
from secure_agg.cli.operators import aggregator, keyholder
from secure_agg.cli.output import JSON_FLAG
from secure_agg.cli.plan import plan
from secure_agg.cli.verify import model
from secure_agg.cli.verify.verify import verify_evidence

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    epilog=exits.HELP,
    help="Secure aggregation for federated learning whose result anyone can check.",
)
app.command("demo", epilog=exits.HELP)(demo)
app.command("backends")(list_backends)
app.command("verify", epilog=exits.HELP)(verify_evidence)
app.add_typer(ledger.app, name="ledger")
app.add_typer(model.app, name="model")
app.command("keygen")(keygen)
app.command("plan", epilog=exits.HELP)(plan)
app.add_typer(keyholder.app, name="keyholder")
app.add_typer(aggregator.app, name="aggregator")
app.add_typer(federation.app, name="federation")
app.command(
    "bench",
    add_help_option=False,  # --help is the suites' own
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)(bench)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"secure-agg {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of all commands."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit.

    Args:
        arguments: without the program's name; the process's own by default.

    Raises:
        SystemExit: always, with a code of ``exits``; for an unexpected exception after its traceback.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = app(given, prog_name="secure-agg", standalone_mode=False)
    except Exception as error:
        code = exits.exit_code(error)
        if code == exits.BUG:
            sys.excepthook(type(error), error, error.__traceback__)
        else:
            # Looked for here and not in the parsed options: a usage error has none.
            exits.report(error, as_json=JSON_FLAG in given)
    sys.exit(code or exits.OK)
