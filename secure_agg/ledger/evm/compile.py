"""Compiles the contract: ``python -m secure_agg.ledger.evm.compile`` writes ``registry.json``. Needs vyper.

What is written is what the client deploys and what it expects to find on a chain, so that its users need no compiler.
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parent
ARTIFACT: Final = FOLDER / "registry.json"


def compile_contract() -> dict[str, Any]:
    """The artifact: ``compiler``, ``abi`` and ``bytecode``; and of the code that a chain holds once it is deployed, but
    for the terms at its end, ``runtime_bytes`` and ``runtime_sha256``.
    """
    from vyper.compiler import compile_from_file_input  # type: ignore[import-untyped]
    from vyper.compiler.input_bundle import FilesystemInputBundle  # type: ignore[import-untyped]

    bundle = FilesystemInputBundle([FOLDER])
    compiled = compile_from_file_input(
        bundle.load_file("registry.vy"),
        input_bundle=bundle,
        output_formats=("abi", "bytecode", "bytecode_runtime"),
    )
    runtime = bytes.fromhex(compiled["bytecode_runtime"].removeprefix("0x"))
    return {
        "compiler": f"vyper {version('vyper')}",
        "abi": compiled["abi"],
        "bytecode": compiled["bytecode"],
        "runtime_bytes": len(runtime),
        "runtime_sha256": hashlib.sha256(runtime).hexdigest(),
    }


def main() -> None:
    """Write the artifact."""
    ARTIFACT.write_text(json.dumps(compile_contract(), indent=1) + "\n")


if __name__ == "__main__":
    main()
