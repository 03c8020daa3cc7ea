"""``secure-agg explore``: a ledger's page in the browser."""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
import webbrowser
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from secure_agg import explorer
from secure_agg.cli.terminal.output import JsonOption, emit, show_fields
from secure_agg.errors import ConfigError
from secure_agg.explorer.serving import SiteServer
from secure_agg.explorer.site import write_site
from secure_agg.ledger.log import Ledger
from secure_agg.tlog.tiles import CHECKPOINT


def explore(
    ledger: Annotated[
        Path | None,
        typer.Argument(metavar="LEDGER", help="The ledger's database file, or a folder that it is published in."),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="On 127.0.0.1; by default a free one.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Print the address, and open nothing.")] = False,
    digest: Annotated[
        bool,
        typer.Option(
            "--digest", help="Print the page's SHA-256: a page that somebody else serves has to have it, too."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Look at a ledger in the browser, which verifies all of it by itself: signatures, tree, sums, proofs.

    Serves this package's own page on this machine until Ctrl-C, also for a folder that somebody else has published.
    """
    if digest:
        emit(
            {"page": str(explorer.PAGE), "sha256": explorer.digest()},
            as_json,
            lambda console: console.print(explorer.digest()),
        )
        return
    if ledger is None:
        raise ConfigError("name a ledger, or a folder that one is published in")
    with ExitStack() as stack:
        folders = [ledger] if ledger.is_dir() else _published(ledger, stack)
        if not (folders[0] / CHECKPOINT).is_file():
            raise ConfigError(f"{ledger} is no folder of a published ledger: it has no file {CHECKPOINT}")
        ended = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.set())
        # The page is the package's own, whatever the folder has.
        with SiteServer((_own_page(stack), *folders), port) as server:
            document = {"url": server.url, "sha256": explorer.digest()}

            def show(console: Console) -> None:
                show_fields(console, document)

            emit(document, as_json, show)
            sys.stdout.flush()
            if not no_browser:
                webbrowser.open(server.url)
            ended.wait()


def _own_page(stack: ExitStack) -> Path:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="secure-agg-page-")))
    (folder / "index.html").write_bytes(explorer.PAGE.read_bytes())
    return folder


def _published(path: Path, stack: ExitStack) -> list[Path]:
    """The log as files, in a folder for the time being; evidence is served from where it lies."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="secure-agg-explore-")))
    with Ledger(path, read_only=True) as log:
        log.export(folder, with_evidence=False)
        write_site(log, folder)
    store = folder / "evidence"
    store.symlink_to(Path(f"{path}.evidence").resolve(), target_is_directory=True)
    return [folder]
