"""Kernels: both forms give the same bits; files of compiled kernels speed things up and can break nothing."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mpc import digits, keystream, ntt, ring, shamir, vector_shares
from mpc.kernels import compiled, kernel_files
from mpc.kernels.compiled import Kernel
from secure_agg.protocol.codec import grid as codec
from zk import commitment

ROOT = Path(__file__).parents[2]
EDGES = [0, 1, 2, ring.P - 2, ring.P - 1]


def residues(size: int, seed: int = 1) -> ring.Vector:
    out = np.random.default_rng(seed).integers(0, ring.P, size, dtype=np.uint32)
    out[: len(EDGES)] = EDGES[: out.size]
    return out


def words(size: int, below: int = 1 << 32) -> ring.Vector:
    out = np.random.default_rng(2).integers(0, below, size, dtype=np.uint32)
    out[size // 2] = (1 << 31) - 1  # no residue
    return out


def encodings() -> Iterator[tuple[Any, ...]]:
    values = np.random.default_rng(3).normal(0, 5, 1000)
    values[:6] = 0.0, -0.0, 8.0, -8.0, np.nextafter(8.0, 9), -1e300
    noise = words(1000)
    for kind in (np.float32, np.float64):
        with np.errstate(over="ignore"):
            typed = values.astype(kind)
        finite = np.where(np.isfinite(typed), typed, kind(-9))
        finite[6:9] = codec.MARK
        for half in (1.0, 32767.0, 2.0**23 - 1):
            yield finite, 8.0, 117 / 320, half / 8, half, noise, np.zeros(1000, dtype=np.uint32)
        for bad in (np.nan, np.inf, -np.inf):
            broken = finite.copy()
            broken[[70, 800]] = bad
            yield broken, 8.0, 1.0, 4095.9, 32767.0, noise, None


def shares(rows: int, columns: int) -> shamir.Shares:
    return residues(rows * columns).reshape(rows, columns)


def packings() -> Iterator[tuple[Any, ...]]:
    for base, count in ((2, 64), (301, 7), (1 << 21, 3), (1 << 32, 2)):
        values = np.random.default_rng(5).integers(0, base, 100, dtype=np.uint64).astype(np.uint32)
        yield values, np.uint64(base), count, -(-100 // count)


def unpackings() -> Iterator[tuple[Any, ...]]:
    for values, base, count, rows in packings():
        elements = np.zeros(rows, dtype=np.uint64)
        digits._pack.or_else(values, base, count, elements)
        yield elements, base, count, np.zeros(100, dtype=np.uint32)
        if int(base) ** count < 1 << 64:
            for place in (0, rows - 1):
                damaged = elements.copy()
                damaged[place] = np.uint64(2**64 - 1)
                yield damaged, base, count, np.zeros(100, dtype=np.uint32)


CASES: dict[str, tuple[Any, Callable[[], Any]]] = {
    "add": (ring._add, lambda: [(residues(n), residues(n, 9)[::-1].copy()) for n in (0, 1, 5, 70_000)]),
    "subtract": (ring._subtract, lambda: [(residues(n), residues(n, 9)[::-1].copy()) for n in (0, 1, 5, 70_000)]),
    "transform": (ntt.transform_lanes, lambda: [(residues(512 * 16).reshape(512, 16),)]),
    "add_residues": (
        keystream._add_residues,
        lambda: [(w, residues(5000), negative) for w in (words(5000), words(5000, 1 << 30)) for negative in (0, 1)],
    ),
    "add_scaled": (vector_shares._add_scaled, lambda: [(residues(999), residues(999, 4), f) for f in (2, ring.P - 2)]),
    "evaluate": (
        shamir._evaluate,
        lambda: [(shares(t, 18), residues(7), np.zeros((7, 18), dtype=np.uint32)) for t in (1, 2, 5)],
    ),
    "load": (
        commitment._load,
        lambda: [
            (residues(n), residues(5 * 512, 4), first, np.ones((512, 16), dtype=np.uint32))
            for n in (1, 511, 512, 16 * 512, 16 * 512 + 1, 30 * 512 - 3)
            for first in (0, 16, 32)
        ],
    ),
    "accumulate": (
        commitment._accumulate,
        lambda: [
            (
                residues(10_000),
                residues(5 * 512, 4),
                first,
                residues(3 * 8192, 5),
                np.ones((512, 16), dtype=np.uint32),
                residues(3 * 8192, 6).astype(np.uint64).reshape(3, 512, 16) << np.uint64(31),
            )
            for first in (0, 16)
        ],
    ),
    "pack": (digits._pack, lambda: [(*p[:3], np.zeros(p[3], dtype=np.uint64)) for p in packings()]),
    "pack_residues": (
        digits._pack_residues,
        lambda: [(*p[:3], np.zeros(p[3], dtype=np.uint32)) for p in packings() if int(p[1]) < ring.P],
    ),
    "unpack": (digits._unpack, lambda: list(unpackings())),
    "add_words": (
        keystream._add_words,
        lambda: [
            (np.arange(9, dtype=np.uint64) << np.uint64(60), np.full(7, 2**63, dtype=np.uint64), negative)
            for negative in (False, True)
        ],
    ),
    "encode": (codec._encode, lambda: list(encodings())),
}


@pytest.mark.parametrize("name", CASES)
def test_both_forms_of_a_kernel_give_the_same_bits(name: str) -> None:
    kernel, inputs = CASES[name]
    for given in inputs():
        filled = [np.zeros(given[0].size, dtype=np.uint32) if argument is None else argument for argument in given]
        ours, plain = ([a.copy() if isinstance(a, np.ndarray) else a for a in filled] for _ in range(2))
        results = kernel(*ours), kernel.or_else(*plain)
        assert results[0] == results[1]
        if given[-1] is None:
            continue  # refused: what was written until then is nothing
        for left, right in zip(ours, plain, strict=True):
            np.testing.assert_array_equal(left, right)


def test_every_kernel_of_the_base_install_has_a_form_without_numba() -> None:
    """Those of backends with an extra that brings numba need none."""
    code = (
        "import sys, secure_agg\n"
        "from mpc.kernels.compiled import Kernel\n"
        "for name, module in list(sys.modules.items()):\n"
        "    if name.split('.')[0] in ('mpc', 'zk', 'secure_agg'):\n"
        "        for value in vars(module).values():\n"
        "            if isinstance(value, Kernel) and value.or_else is None:\n"
        "                print(value)\n"
        "print('numba' in sys.modules)\n"
    )
    assert python(code).stdout.split() == ["False"]


@pytest.mark.slow
def test_a_round_without_numba_is_the_round_with_it() -> None:
    code = (
        "import numpy, secure_agg\n"
        "arrays = {f'c{i}': [numpy.arange(9.0 * i - 9000, 9 * i)[:3000] / 1000] for i in range(4)}\n"
        "result = secure_agg.aggregate(arrays, weights={'c0': 5}, dropouts={'c3': 'masked-input'})\n"
        "secure_agg.verify(result.evidence)\n"
        "print(result.participants, [round(float(x), 2) for x in result.average[0][:20]])\n"
    )
    assert python("import sys; sys.modules['numba'] = None\n" + code).stdout == python(code).stdout


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found


SOURCE = """
import numpy as np
from mpc.kernels.compiled import compiled

FACTOR = {factor}

@compiled()
def times(x):
    return x * FACTOR
"""


class Place:
    """A module with one kernel in a folder of its own, imported as a new process would."""

    def __init__(self, folder: Path) -> None:
        self.source = folder / "kernel_of_a_test.py"
        self.cache = folder / "cache"
        self.write(3)

    def write(self, factor: int) -> None:
        self.source.write_text(SOURCE.format(factor=factor), encoding="utf-8")

    def kernel(self) -> Kernel[[int], int]:
        space: dict[str, Any] = {"__name__": "kernel_of_a_test"}
        exec(compile(self.source.read_text(encoding="utf-8"), str(self.source), "exec"), space)  # noqa: S102
        return space["times"]  # type: ignore[no-any-return]

    def call(self) -> bool:
        """Whether the kernel, called, was read from a file."""
        kernel = self.kernel()
        dispatcher: Any = kernel.prepare()
        assert kernel(14) == 42
        return bool(sum(dispatcher.stats.cache_hits.values()))

    @property
    def files(self) -> list[Path]:
        return sorted(self.cache.iterdir()) if self.cache.is_dir() else []


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    folder = tmp_path / "package"
    folder.mkdir()
    made = Place(folder)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(made.cache))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    kernel_files._once.cache_clear()
    return made


def test_the_next_process_reads_what_was_compiled(place: Place) -> None:
    assert [place.call(), place.call()] == [False, True]
    assert len(place.files) == 1


def test_what_was_compiled_serves_wherever_numpy_is_imported_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """One environment has several paths, by links: each compiled all kernels anew, over those of the other."""
    before = kernel_files._stamp(commitment._accumulate)
    monkeypatch.setattr(np.__spec__, "origin", "/elsewhere/numpy/__init__.py")
    assert "/elsewhere" in repr(np)
    assert kernel_files._stamp(commitment._accumulate) == before
    monkeypatch.setitem(commitment._accumulate.loop.__globals__, "_REDUCE", np.uint64(1))
    assert kernel_files._stamp(commitment._accumulate) != before


@pytest.mark.slow
def test_reading_what_was_compiled_imports_no_compiler() -> None:
    """Processes that live for one message, as Flower's, call a few kernels: the rest of numba would take a second."""
    code = (
        "import sys\nimport numpy as np\nfrom mpc import ring\n"
        "print(ring.add_into(np.full(9, 2, np.uint32), np.full(9, 3, np.uint32)))\n"
        "print('numba.np.arraymath' in sys.modules)"
    )
    python(code)  # compiles, where no process has before
    assert python(code).stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: data[:40], id="cut off"),
        pytest.param(lambda data: data[:-1], id="a byte short"),
        pytest.param(lambda data: data + b"\0", id="a byte long"),
        pytest.param(lambda data: bytes(len(data)), id="zeros, as after a power cut"),
        pytest.param(lambda data: data[:500] + bytes([data[500] ^ 1]) + data[501:], id="a bit flipped in the code"),
        pytest.param(lambda data: b"garbage" * 100, id="garbage"),
    ],
)
def test_a_damaged_file_is_compiled_anew(place: Place, damage: Callable[[bytes], bytes]) -> None:
    place.call()
    (file,) = place.files
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert [place.call(), place.call()] == [False, True]


def test_what_numba_cannot_use_is_compiled_anew(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole, and of another release of numba that gave itself no other version."""
    monkeypatch.setattr("numba.core.serialize.dumps", lambda data: b"\x80\x04K\x01.")
    assert not place.call()
    monkeypatch.undo()
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(place.cache))
    assert [place.call(), place.call()] == [False, True]


def test_a_changed_source_is_compiled_anew(place: Place) -> None:
    place.call()
    place.write(2)
    assert place.kernel()(14) == 28


def test_a_folder_in_the_place_of_a_file_harms_nothing(place: Place) -> None:
    place.call()
    (file,) = place.files
    file.unlink()
    file.mkdir()
    assert not place.call()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES])
def test_a_kernel_that_cannot_be_written_is_used(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    def fail(self: Path, target: Path) -> Path:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "replace", fail)
    with caplog.at_level(logging.WARNING):
        assert [place.call(), place.call()] == [False, False]
    assert place.files == []  # nothing is left behind
    assert [(r.levelname, os.strerror(number) in r.getMessage()) for r in caplog.records] == [("WARNING", True)]


def test_without_any_place_to_write_kernels_work(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As a daemon without a home in a file system that is read only: root can write everywhere but here."""
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "/proc/self/nowhere")
    (place.source.parent / "__pycache__").write_text("")
    monkeypatch.setattr(kernel_files, "_temporary", lambda: None)
    assert not place.call()
    assert not place.call()
    assert len(caplog.records) == 1


@pytest.fixture
def homeless(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Only the folder for temporary files can be written."""
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "/proc/self/nowhere")
    (place.source.parent / "__pycache__").write_text("")
    monkeypatch.setattr(kernel_files, "_temporary", lambda: tmp_path)
    return place


def test_without_a_home_kernels_are_kept_for_this_user_alone(
    homeless: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert [homeless.call(), homeless.call()] == [False, True]
    assert (tmp_path / f"secure-agg-{os.geteuid()}").stat().st_mode & 0o777 == 0o700
    assert len(caplog.records) == 1


def hostile(kind: str, folder: Path, target: Path) -> None:
    """What another user may have prepared in a folder where everybody can write."""
    if kind == "a link":
        target.mkdir()
        folder.symlink_to(target)
    else:
        folder.mkdir()
        folder.chmod(0o777 if kind == "everybody's" else 0o700)
    if kind == "another's":
        os.chown(folder, 65534, 65534)


@pytest.mark.parametrize("kind", ["everybody's", "a link", "another's"])
def test_code_that_others_can_have_written_is_not_run(homeless: Place, tmp_path: Path, kind: str) -> None:
    """Numba's files are pickles: who prepares one runs code in the process that reads it."""
    if kind == "another's" and os.geteuid():
        pytest.skip("only root can make a folder for another user")
    homeless.call()
    folder = tmp_path / f"secure-agg-{os.geteuid()}"
    (file,) = folder.iterdir()
    prepared = file.read_bytes()
    file.unlink()
    folder.rmdir()
    hostile(kind, folder, tmp_path / "elsewhere")
    (folder / file.name).write_bytes(prepared)
    assert not homeless.call()
    assert (folder / file.name).read_bytes() == prepared


def test_a_private_folder_below_one_that_others_can_change_is_not_trusted(tmp_path: Path) -> None:
    private = tmp_path / "open" / "kernels"
    private.mkdir(parents=True, mode=0o700)
    assert kernel_files._is_private(private)
    private.parent.chmod(0o777)
    assert not kernel_files._is_private(private)
    private.parent.chmod(0o1777)  # like /tmp: nobody can take away what is not theirs
    assert kernel_files._is_private(private)


@pytest.mark.parametrize(
    ("around", "beside", "safe"),
    [(0o755, 0o755, True), (0o755, 0o775, False), (0o775, 0o775, True), (0o775, 0o777, False), (0o777, 0o755, True)],
)
def test_beside_the_source_nobody_else_may_write_than_who_can_write_the_source(
    tmp_path: Path, around: int, beside: int, safe: bool
) -> None:
    """A group that can write the folder, and not the source, would run code in every process that reads it."""
    source, folder = tmp_path / "kernel.py", tmp_path / "__pycache__"
    source.write_text("")
    folder.mkdir()
    folder.chmod(beside)
    tmp_path.chmod(around)
    assert kernel_files._is_as_safe_as(source, folder) is safe


def test_importing_compiles_and_writes_nothing(tmp_path: Path) -> None:
    python("import secure_agg", NUMBA_CACHE_DIR=str(tmp_path / "cache"), HOME="/proc/self/nowhere")
    assert not (tmp_path / "cache").exists()
    assert compiled.numba_is_there()
