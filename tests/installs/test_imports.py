"""What is imported, and when: nobody waits for what was not asked for."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import secure_agg

INIT: Final = Path(secure_agg.__file__)
EXTRAS: Final = {
    *("attr", "crypten", "dp_accounting", "flwr", "gmpy2", "grpc", "httpcore", "matplotlib", "narwhals", "numba"),
    *("nvflare", "pandas", "prometheus_client", "ray", "scipy", "sklearn", "starlette", "tenseal", "torch", "uvicorn"),
    *("web3", "zstandard"),
}
"""Packages that no command below has a use for: what extras are for, and what draws rich's tracebacks."""
OWN: Final = {"numpy", "cryptography", "msgspec"}
"""What every role needs, and no list of commands."""


def imported(program: str, *arguments: object) -> set[str]:
    """The modules in a new process after a program, whatever its exit code: ours in full, of others the first name."""
    code = f"import json, sys\ntry:\n    {program}\nfinally:\n    print('\\n' + json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    modules = json.loads(done.stdout.splitlines()[-1])
    assert "secure_agg" in modules, done.stderr
    return {name if name.startswith(("secure_agg", "mpc", "zk")) else name.partition(".")[0] for name in modules}


def test_the_package_imports_its_errors_and_nothing_more() -> None:
    modules = imported("import secure_agg")
    assert {name for name in modules if name.startswith(("secure_agg", "mpc", "zk"))} == {
        "secure_agg",
        "secure_agg._version",
        "secure_agg.errors",
    }
    assert modules & (OWN | EXTRAS | {"click", "rich", "typer", "asyncio"}) == set()


def test_a_list_of_commands_imports_none_of_them() -> None:
    modules = imported("import secure_agg.cli; secure_agg.cli.main()", "--help")
    assert modules & (OWN | EXTRAS - {"attr"} | {"asyncio"}) == set()
    rooms = {name for name in modules if name.startswith("secure_agg.") and not name.startswith("secure_agg.cli")}
    assert rooms == {"secure_agg._version", "secure_agg.errors"}


@pytest.mark.parametrize(
    ("words", "without"),
    [
        (["verify", "nowhere", "--without-trust"], {"plugins", "service", "transport", "local"}),
        (["ledger", "list", "nowhere"], {"plugins", "service", "transport", "local"}),
        (["client", "https://localhost:1", "--home", "nowhere"], {"planning"}),
        (["keyholder", "serve", "nowhere"], {"plugins", "service", "ledger", "fl"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_command_imports_what_it_uses(words: list[str], without: set[str], tmp_path: Path) -> None:
    given = [tmp_path / word if word == "nowhere" else word for word in words]
    modules = imported("import secure_agg.cli; secure_agg.cli.main()", *given)
    assert modules & EXTRAS == set()
    assert {name.split(".")[1] for name in modules if name.startswith("secure_agg.")} & without == set()


def test_every_public_name_is_where_type_checkers_are_told_that_it_is() -> None:
    told = {
        alias.name: node.module
        for block in ast.parse(INIT.read_text("utf-8")).body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == secure_agg._HOMES
    assert set(told) <= set(secure_agg.__all__) <= set(dir(secure_agg))
    assert all(getattr(secure_agg, name) is not None for name in secure_agg.__all__)


def test_a_name_that_there_is_not_is_said_to_be_missing() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'aggregated'"):
        _ = secure_agg.aggregated  # type: ignore[attr-defined]
