"""``secure-agg completion``: the script by which a shell completes commands and options."""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined]

from secure_agg.errors import ConfigError

VARIABLE: Final = "_SECURE_AGG_COMPLETE"
"""By which a shell asks what could come next."""
SHELLS: Final = ("bash", "zsh", "fish")


def show_completion(
    shell: Annotated[str, typer.Argument(metavar="SHELL", help=f"One of {', '.join(SHELLS)}.")],
) -> None:
    """Print the script that completes `secure-agg` in a shell. Nothing is installed: you say where it goes."""
    if shell not in SHELLS:
        raise ConfigError(f"there is no completion for {shell!r}: {', '.join(SHELLS)}")
    script = get_completion_script(prog_name="secure-agg", complete_var=VARIABLE, shell=shell)
    sys.stdout.write(script.strip("\n") + "\n")
