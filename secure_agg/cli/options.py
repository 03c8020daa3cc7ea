"""Arguments that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

LedgerArgument = Annotated[Path, typer.Argument(metavar="LEDGER", help="The ledger's database file.")]

PolicyOption = Annotated[
    Path | None,
    typer.Option("--policy", metavar="FILE", help="C2SP tlog-policy file: the witnesses that must have cosigned."),
]
