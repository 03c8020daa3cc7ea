"""What every help ends with: examples, and the exit codes. One form for all commands."""

from __future__ import annotations

from secure_agg.cli.terminal import exits


def epilog(*examples: str, codes: bool = True) -> str:
    """The end of a command's help, in the Markdown that Typer renders.

    Args:
        examples: command lines as they are typed; each is parsed by a test.
        codes: name the exit codes, for commands that can end with others than 0 and 2.
    """
    title = "Example:" if len(examples) == 1 else "Examples:"
    head = [f"{exits.HELP}\\"] if codes else []  # a line break in Markdown
    return "\n\n".join([*head, title, *(f"- `{example}`" for example in examples)])
