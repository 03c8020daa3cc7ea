"""Flower's array records to numpy arrays and back, with nothing of them changed."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from secure_agg.errors import MalformedMessage

app = pytest.importorskip("flwr.app")
records = pytest.importorskip("secure_agg.plugins.flower.records")


def named() -> dict[str, npt.NDArray[Any]]:
    rng = np.random.default_rng(2)
    return {
        "z.weight": rng.normal(size=(3, 4)).astype(np.float32),
        "a": np.array(3, dtype=np.int64),
        "scalar": np.array(0.5),
        "half": rng.normal(size=5).astype(np.float16),
        "empty": np.empty((2, 0), dtype=np.float32),
        "fortran": np.asfortranarray(rng.normal(size=(4, 3, 2))),
        "big-endian": rng.normal(size=6).astype(">f8"),
        "strided": rng.normal(size=(4, 6))[::2, ::-3],
        "mask": np.array([[True], [False]]),
        "": np.zeros(1, dtype=np.uint8),
    }


def test_a_record_comes_back_with_its_keys_order_dtypes_and_shapes() -> None:
    arrays = records.to_arrays(records.to_record(named()))
    assert list(arrays) == list(named())
    for name, array in named().items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        assert np.array_equal(arrays[name], array)


def test_arrays_are_what_flower_itself_reads() -> None:
    record = app.ArrayRecord(dict(records.to_record(named())))
    for name, array in records.to_arrays(record).items():
        assert np.array_equal(array, record[name].numpy())


def test_a_record_is_not_changed_and_can_not_be_through_its_arrays() -> None:
    record = records.to_record(named())
    before = {name: (array.dtype, array.shape, array.data) for name, array in record.items()}
    arrays = records.to_arrays(record)
    with pytest.raises(ValueError, match="read-only"):
        arrays["z.weight"][0, 0] = 1
    assert {name: (array.dtype, array.shape, array.data) for name, array in record.items()} == before


def test_a_model_is_read_without_a_copy() -> None:
    record = records.to_record(named())
    data = np.frombuffer(record["z.weight"].data, dtype=np.uint8)
    assert np.shares_memory(records.to_arrays(record)["z.weight"], data)


def test_a_record_that_pytorch_made_is_read() -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.BatchNorm1d(3)
    arrays = records.to_arrays(app.ArrayRecord(layer.state_dict()))
    assert list(arrays) == list(layer.state_dict())
    assert arrays["num_batches_tracked"].dtype == np.int64


def saved(array: npt.NDArray[Any], **changes: Any) -> Any:
    """What numpy makes of an array, with some fields of the record changed."""
    file = BytesIO()
    np.save(file, array, allow_pickle=True)
    fields = {"dtype": str(array.dtype), "shape": array.shape, "stype": "numpy.ndarray", "data": file.getvalue()}
    return app.Array(**(fields | changes))


def header(shape: tuple[int, ...], rest: bytes = bytes(16)) -> bytes:
    file = BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return file.getvalue() + rest


def literal(text: str) -> bytes:
    """A header that says this where numpy writes a dictionary."""
    line = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line + bytes(16)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (saved(np.zeros(2), stype="raw.v1"), "serialised as 'raw.v1'"),
        (saved(np.zeros(2), data=b""), "not in numpy's format"),
        (saved(np.zeros(2), data=b"\x93NUMPY\x01\x00\x04\x00{}  "), "not in numpy's format"),
        (saved(np.zeros(2), data=header((2,))[:40]), "not in numpy's format"),
        (saved(np.zeros(2), data=header((2,)).replace(b"NUMPY\x01", b"NUMPY\x03")), "format version"),
        (saved(np.zeros(2), data=header((2,), bytes(15))), "can't be 15 bytes"),
        (saved(np.zeros(2), data=header((2,), bytes(17))), "can't be 17 bytes"),
        (saved(np.zeros(2), dtype="float32"), "claims float32"),
        (saved(np.zeros(2), shape=(3,)), r"claims float64 of shape \(3,\)"),
        (saved(np.zeros(2), shape=(1 << 50,), data=header((1 << 50,))), "can't be 16 bytes"),
        (saved(np.zeros(2), shape=(-1, -2), data=header((-1, -2))), "can't be 16 bytes"),
        (saved(np.array([{}, []], dtype=object)), "of object"),
        (saved(np.zeros(1), shape=(1,) * 65, data=header((1,) * 65, bytes(8))), "can't be 8 bytes"),
        (saved(np.zeros(0), shape=(0, 1 << 70), data=header((0, 1 << 70), b"")), "not in numpy's format"),
        (saved(np.zeros(0), shape=(0, 10**19 - 1), data=header((0, 10**19 - 1), b"")), "can't be 0 bytes"),
        (saved(np.zeros(2, dtype="V0")), "which no model is of"),
        (saved(np.zeros(2, dtype=[("a", "<f8"), ("b", "<i4")])), "which no model is of"),
        (saved(np.array(["a", "b"])), "which no model is of"),
        (saved(np.zeros(2), data=literal("(" * 4000)), "not in numpy's format"),
        (saved(np.zeros(2), data=literal("{'descr': '<f8'}")), "not in numpy's format"),
        (
            saved(np.zeros(2), data=literal("{'descr': [('a', 5)], 'fortran_order': False, 'shape': ()}")),
            "not in numpy's",
        ),
        (saved(np.zeros(2), data=literal("\0")), "not in numpy's format"),
    ],
)
def test_bytes_that_are_not_what_they_claim_are_refused_by_name(array: Any, message: str) -> None:
    record = app.ArrayRecord()
    record["layer"] = array
    with pytest.raises(MalformedMessage, match=f"array 'layer' .*{message}"):
        records.to_arrays(record)


# --- models that a node has computed itself -----------------------------------------------------------------------


def test_what_is_left_out_of_a_record_comes_back_to_the_byte() -> None:
    model = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.array(5), "b": np.array(-0.0)}
    record = records.to_record(model)
    bare = records.without(record, ["w", "b"])
    assert bare is not None
    assert records.is_without(bare)
    assert not records.is_without(record)
    assert [len(array.data) > 0 for array in bare.values()] == [False, True, False]
    whole = records.filled(bare, [model["w"], model["b"]])
    assert list(whole) == list(record)
    assert all(whole[name].data == record[name].data for name in record)


@pytest.mark.parametrize(
    "other", [np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)), np.arange(3, dtype=">f4")]
)
def test_arrays_that_would_come_back_as_other_bytes_are_not_left_out(other: np.ndarray) -> None:
    """A home keeps a model in C order and in the machine's own byte order."""
    assert records.without(records.to_record({"w": other}), ["w"]) is None


@pytest.mark.parametrize(
    "own",
    [[], [np.zeros((3, 2), np.float32)], [np.zeros((2, 3))], [np.zeros((2, 3), np.float32), np.zeros(1)]],
)
def test_a_model_of_other_arrays_does_not_take_their_place(own: list[np.ndarray]) -> None:
    bare = records.without(records.to_record({"w": np.zeros((2, 3), np.float32)}), ["w"])
    assert bare is not None
    with pytest.raises(MalformedMessage, match="left out"):
        records.filled(bare, own)
