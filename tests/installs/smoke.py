"""Tries what one extra is for, in the environment that has it and nothing else: ``python smoke.py EXTRA CHECKOUT``.

``matrix.py`` starts it, in an empty folder. With every extra the whole package is imported, a round is made, and what
is not installed has to say so (``needs.py``). The base install's own test is part of ``all`` and ``dev``, too.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import json
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Final

import needs
import numpy as np

import secure_agg
from secure_agg import extras
from secure_agg.errors import ExecutorError

CLIENTS: Final = 4
HERE: Final = Path.cwd()


def check(claim: bool, text: str) -> None:
    """End with a message unless something holds."""
    if not claim:
        sys.exit(f"smoke test: {text}")


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """``secure-agg …`` as it is installed in this environment."""
    script = Path(sys.executable).with_name("secure-agg")
    return subprocess.run([script, *map(str, arguments)], capture_output=True, text=True, check=False)


def succeeds(*arguments: object) -> str:
    """Run a command that must not fail; what it printed."""
    done = command(*arguments)
    check(done.returncode == 0, f"secure-agg {' '.join(map(str, arguments))}: {done.stderr}")
    check("Traceback" not in done.stderr, done.stderr)
    return done.stdout


def update(value: float) -> list[np.ndarray]:
    """One client's."""
    return [np.full((3, 4), value), np.array([-value], dtype=np.float32)]


def sums(backend: str, **settings: object) -> secure_agg.Result:
    """A whole round, whose mean has to be right and whose evidence has to pass."""
    updates = {f"client-{i}": update(i / 8) for i in range(CLIENTS)}
    result = secure_agg.aggregate(updates, backend=backend, **settings)  # type: ignore[arg-type]
    for found, wanted in zip(result.average, update(1.5 / 8), strict=True):
        check(bool(np.abs(found - wanted).max() < 1e-2), f"{backend}: the mean is {found}")
    secure_agg.verify(result.evidence)
    return result


def base() -> None:
    """Masking, additive and plain; ledger, audit, and the command line."""
    ours = {file.parts[0] for file in importlib.metadata.files("secure-agg") or ()}  # others bring benchmarks too
    check(ours != set() and not ours & {"benchmarks", "tests"}, f"what is installed has {sorted(ours)}")
    for backend in ("plain", "additive"):
        sums(backend)
    ledger = HERE / "rounds.db"
    result = sums("masking", ledger=str(ledger))
    evidence, pins = HERE / "round.evidence", HERE / "rounds.db.trust.json"
    evidence.write_bytes(result.evidence.to_bytes())
    secure_agg.verify(result.evidence, trust=secure_agg.Trust.load(pins))
    check(succeeds("--version").strip() == f"secure-agg {secure_agg.__version__}", "another version")
    shown = json.loads(succeeds("backends", "--json"))
    check({"masking", "bfv", "crypten"} <= set(shown.get("backends", shown)), f"backends: {shown}")
    succeeds("verify", evidence, "--trust", pins)
    succeeds("ledger", "audit", ledger, "--trust", pins)
    succeeds("ledger", "list", ledger)
    succeeds("plan", "--parameters", 1000, "--clients", 10)
    succeeds("keygen", "somebody", "--out", HERE / "somebody.key")
    homes = [option for i in range(CLIENTS) for option in ("--client", f"client-{i}")]
    succeeds("federation", "init", HERE / "federation", *homes)
    bench = command("bench", "core")
    check(bench.returncode == 2 and "in a checkout" in bench.stderr, f"secure-agg bench: {bench.stderr}")


def fast() -> None:
    """Kernels are compiled."""
    check("numba" in sys.modules, "numba is not used")


def he() -> None:
    """Both lattice backends."""
    sums("bfv")
    sums("ckks")


def paillier() -> None:
    """One key holder and a short modulus."""
    sums("paillier", options={"modulus_bits": 2048})


def mpc() -> None:
    """A norm-bounded sum among CrypTen's processes."""
    sums("crypten", **needs.NORM_BOUND)


def ray() -> None:
    """A round on a cluster of this machine. Ray gives its node 30 seconds to start, whatever the machine: the first
    start in a new environment, which compiles Ray's byte code, may take longer.
    """
    updates = {f"c{i}": [np.full(3, 0.5)] for i in range(CLIENTS)}
    for last in (False, False, True):
        try:
            mean = secure_agg.aggregate(updates, executor="ray:2").average[0]
            break
        except ExecutorError:
            if last:
                raise
    check(bool(np.allclose(mean, 0.5, atol=1e-3)), f"the mean of halves is {mean}")


def operators() -> None:
    """An operator answers over gRPC with mutual TLS, on this machine."""
    from secure_agg.protocol.identity import Roster
    from secure_agg.transport.channel import Endpoint
    from secure_agg.transport.client import Operators
    from secure_agg.transport.credentials import OperatorKeys
    from secure_agg.transport.server import OperatorServer

    class Echo:
        def receive(self, request: bytes, /) -> bytes:
            return request

    ours, other = OperatorKeys.generate("server"), OperatorKeys.generate("operator")
    pinned = Roster({each.identity.name: each.identity.public for each in (ours, other)})

    async def talk() -> None:
        server = OperatorServer(Echo(), other, [ours.card()], pinned)
        address = await server.start("127.0.0.1:0")
        async with Operators(ours, [Endpoint(address, other.card())], pinned) as connected:
            await connected.connect(120)
        await server.stop(0)

    asyncio.run(talk())


def beacon() -> None:
    """Pins of a public beacon, and a signature of its kind."""
    from secure_agg.beacon.source import quicknet
    from zk import bls

    check(quicknet(5).first == 5, "other pins")
    secret = bytes(31) + b"\x07"
    bls.verify(bls.public_key(secret), b"pulse", bls.sign(secret, b"pulse"))


def evm() -> None:
    """Commitments on the curve, and the contract's client."""
    from secure_agg.ledger.evm import reader
    from zk import kzg

    check(len(kzg.powers()) == kzg.MAX_COEFFICIENTS, "powers of tau are missing")
    check("abi" in reader.artifact(), "the contract is missing")


def flower() -> None:
    """The plug-in on the framework that is there."""
    from secure_agg.plugins.flower import SecureGrid, secure_mod

    check(callable(SecureGrid) and callable(secure_mod), "the plug-in is not whole")


def nvflare() -> None:
    """The plug-in on the framework that is there, and a site's configuration."""
    from secure_agg.plugins.nvflare import configure, secure

    configure(HERE / "local", HERE / "federation")
    check(callable(secure) and (HERE / "local" / "privacy.json").is_file(), "no configuration was written")


def demo() -> None:
    """Two rounds of it, and one with poison."""
    succeeds("demo", "--rounds", 2, "--output", HERE / "demo")
    check(any((HERE / "demo").rglob("*.png")), "the demo left no plot")
    succeeds("demo", "--poison", "--rounds", 1, "--output", HERE / "poison")


def examples() -> None:
    """A round of one of the checkout's."""
    script = Path(sys.argv[2]) / "examples" / "survival" / "run.py"
    run = [sys.executable, str(script), str(HERE / "survival"), "--rounds", "1"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    check(done.returncode == 0, done.stderr)
    check((HERE / "survival" / "survival.png").is_file(), "the example left no plot")


def service() -> None:
    """A service makes its certificate and says that it is there, until it is told to stop."""
    start = HERE / "start.npy"
    np.save(start, np.zeros(4))
    clients = [part for name in "abcd" for part in ("--client", name)]
    succeeds("federation", "init", HERE / "served", *clients, "--start-model", start)
    process = subprocess.Popen(
        [
            Path(sys.executable).with_name("secure-agg"),
            "serve",
            "--home",
            HERE / "served" / "server",
            "--listen",
            "127.0.0.1:0",
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        said = "" if process.stdout is None else process.stdout.readline()
        check(json.loads(said or "{}").get("tasks") == ["default"], f"a service says {said!r}")
    finally:
        process.kill()
        process.wait()


def stats() -> None:
    """A question to data frames, of what else is there; tables of the package's own are read without it."""
    from secure_agg.stats.tables import Table

    columns = {"age": [30, 40, 50]}
    for name in ("pandas", "polars"):
        if extras.is_there(name):
            frame = importlib.import_module(name).DataFrame(columns)
            check(Table.of(frame).columns["age"].sum() == 120, f"a frame of {name}: {Table.of(frame).columns}")
    check(importlib.import_module("narwhals") is not None, "narwhals is missing")


def plots() -> None:
    """A picture."""
    from secure_agg import pictures

    figure = pictures.begin(2, 2)
    pictures.dress(figure.add_subplot())
    pictures.save(figure, Path("picture.svg"))
    check(Path("picture.svg").read_text().startswith("<?xml"), "no picture")


def docs() -> None:
    """The builder of documents starts."""
    done = subprocess.run([sys.executable, "-m", "mkdocs", "--version"], capture_output=True, text=True, check=False)
    check(done.returncode == 0, done.stderr)


def release() -> None:
    """What a release is made with starts."""
    for module in ("build", "twine"):
        done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=False)
        check(done.returncode == 0, done.stderr)
    check(importlib.util.find_spec("setuptools") is not None, "what builds the package is not here")


def bench() -> None:
    """A suite of the checkout's, with this environment's packages."""
    suite = [sys.executable, "-m", "benchmarks", "peers", "--params", "2000", "--clients", "4", "--repeat", "1"]
    done = subprocess.run(suite, cwd=sys.argv[2], capture_output=True, text=True, check=False)
    check(done.returncode == 0, done.stderr)


def dev() -> None:
    """The tests start."""
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/mpc/test_ring.py"]
    done = subprocess.run(pytest, cwd=sys.argv[2], capture_output=True, text=True, check=False)
    check(done.returncode == 0, done.stdout)


EVERYTHING: Final = (
    *(fast, he, paillier, mpc, ray, operators, beacon, evm, flower, nvflare, demo, service, stats, plots, examples),
)
TESTS: Final[dict[str, tuple[Callable[[], None], ...]]] = {
    "base": (base,),
    "fast": (fast,),
    "he": (he,),
    "paillier": (paillier,),
    "mpc": (mpc,),
    "crypten": (mpc,),
    "ray": (ray,),
    "operators": (operators,),
    "beacon": (beacon,),
    "evm": (evm,),
    "flower": (flower,),
    "nvflare": (nvflare,),
    "demo": (demo,),
    "service": (service,),
    "stats": (stats,),
    "plots": (plots,),
    "examples": (examples,),
    "docs": (docs,),
    "release": (release,),
    "bench": (bench,),
    "all": (base, *EVERYTHING),
    "dev": (base, *EVERYTHING, docs, release, bench, dev),
}


def whole(extra: str) -> None:
    """All modules are imported but those of an extra that is not here; they, and calls, name it."""
    installed = {name: all(map(extras.is_there, modules)) for name, modules in extras.EXTRAS.items()}
    check(installed.get(extra, True), f"extra {extra} does not bring {extras.EXTRAS.get(extra)}")
    found = needs.wrong(installed)
    check(not found, "\n".join(found))


def main() -> None:
    """Try the package as such, then the extra."""
    warnings.simplefilter("error", RuntimeWarning)
    sums("masking")
    whole(sys.argv[1])
    for test in TESTS[sys.argv[1]]:
        test()


if __name__ == "__main__":
    main()
