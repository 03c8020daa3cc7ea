"""What tests leave to chance: nothing, where they draw from a seed, and no port that somebody else could be given."""

from __future__ import annotations

import ast
import inspect
import os
import random
import secrets
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from support.chance.ports import free_port, held
from support.chance.seeds import DRAWING, Stream, seeded
from support.source_tree import modules, parsed

import secure_agg
from secure_agg.protocol.identity import Identity

PARTIES: dict[str, Any] = {name: [np.linspace(-0.5, 0.7, 9)] for name in ("a", "b", "c")}


def drawn(name: str, backend: str) -> bytes:
    with seeded(name):
        return secure_agg.aggregate(PARTIES, backend=backend, clip=1.0).evidence.to_bytes()


@pytest.mark.parametrize("backend", ["plain", "masking", "additive"])
def test_a_round_that_is_drawn_again_from_its_seed_is_the_same_to_the_byte(backend: str) -> None:
    """Keys, secrets, masks, shares and rounding: whatever a party draws by another way would make it another round."""
    assert drawn("one", backend) == drawn("one", backend) != drawn("other", backend)


def test_everything_that_is_drawn_comes_from_the_seed_and_afterwards_from_the_system_again() -> None:
    def several() -> tuple[object, ...]:
        found = (os.urandom(8), secrets.token_bytes(8), secrets.randbelow(1 << 60), random.SystemRandom().random())
        return (*found, Identity.generate("a").public)

    with seeded("one"):
        first = several()
    with seeded("one"):
        assert several() == first
    assert not set(several()) & set(first)


def test_every_default_source_of_the_packages_is_replaced() -> None:
    """A default is bound when a function is defined, so replacing the module's own name would not reach it."""
    found = set()
    for name, path in modules().items():
        for node in ast.walk(parsed(path)) if "= os.urandom" in path.read_text() else ():
            if isinstance(node, ast.FunctionDef):
                defaults = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
                if any(ast.unparse(each) == "os.urandom" for each in defaults):
                    found.add((name, node.name))
    assert found == {(inspect.unwrap(each).__module__, each.__name__) for each in DRAWING}
    for function in DRAWING:
        assert "entropy" in (inspect.unwrap(function).__kwdefaults__ or {})


def test_a_stream_gives_other_bytes_each_time_and_to_each_name() -> None:
    one, other = Stream("one"), Stream("other")
    assert len({one(16), one(16), other(16), other(16)}) == 4


def test_a_port_is_given_once_in_this_process_and_in_no_other() -> None:
    program = (
        "from support.chance.ports import free_port; print(*(free_port() for _ in range(20)), flush=True); input()"
    )
    ports = [free_port() for _ in range(20)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        theirs = [int(word) for word in process.stdout.readline().split()]
        ports += [free_port() for _ in range(20)]
        process.communicate("\n")
    assert len({*ports, *theirs}) == 60
    assert max(*ports, *theirs) < 32_768, "where the system begins to give ports away"


def test_a_port_that_is_held_is_its_owners_again_and_nobody_elses() -> None:
    address = f"127.0.0.1:{free_port()}"
    port = int(address.rpartition(":")[2])
    code = "import socket, sys; socket.socket().bind(('127.0.0.1', int(sys.argv[1])))"
    with held(address):
        taken = subprocess.run([sys.executable, "-c", code, str(port)], capture_output=True, check=False)
        assert b"in use" in taken.stderr
        code = f"import socket; socket.create_server(('127.0.0.1', {port}))"  # as servers do, with SO_REUSEADDR
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
