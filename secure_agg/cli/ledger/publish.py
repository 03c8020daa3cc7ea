"""``secure-agg ledger export``: a ledger as static files that any web server can serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from secure_agg.cli.terminal.options import LedgerArgument
from secure_agg.cli.terminal.output import JsonOption, emit, show_fields
from secure_agg.cli.terminal.progress import progress
from secure_agg.explorer.site import INDEX, write_site
from secure_agg.ledger.log import Ledger


def export_ledger(
    ledger: LedgerArgument,
    directory: Annotated[
        Path, typer.Argument(metavar="DIR", help="Made where it is missing; a former export is brought up to date.")
    ],
    without_evidence: Annotated[
        bool, typer.Option("--without-evidence", help="Publish the log only: nobody else can verify the rounds.")
    ] = False,
    site: Annotated[
        bool,
        typer.Option("--site", help="With a page, index.html, that shows the ledger and verifies it in any browser."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Publish a ledger as static files: C2SP tlog-tiles, and the evidence of every round under evidence/.

    Only what is new is written, the checkpoint last. The evidence holds the sum of each round's updates, and who
    took part. With --site the trust file and the proofs of fault are published beside it.
    """
    with Ledger(ledger, read_only=True) as log, progress() as bar:
        line = bar.add_task("exporting", total=None, note="")
        done = log.export(
            directory,
            with_evidence=not without_evidence,
            progress=lambda count, total: bar.update(line, completed=count, total=total),
        )
        key = log.verifier_key
        page = write_site(log, directory) if site else None
    document = {
        "directory": str(directory),
        "key": str(key),
        "size": done.size,
        "since": done.since,
        "files": done.files,
        "bytes": done.bytes,
        "evidence": not without_evidence,
        "page": page and page.page,
    }

    def show(console: Console) -> None:
        show_fields(
            console,
            {
                "directory": str(directory),
                "size": f"{done.size} records, of them {done.size - done.since} new",
                "files": f"{done.files} written",
                "bytes": f"{done.bytes:,} written",
                "key": str(key),
                **({"page": f"{directory / INDEX}, SHA-256 {page.page}"} if page else {}),
            },
        )

    emit(document, as_json, show)
