"""A model's digest is the same from an app, from a file of any kind, and on the node that is handed it."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secure_agg.errors import ConfigError, UpdateError
from secure_agg.fl.layers import Layers
from secure_agg.fl.model_files import digest_argument, read_model, start_digest, write_model
from secure_agg.protocol.codec import model_digest


def named() -> dict[str, Any]:
    """In the order in which safetensors keeps them: by type, then by name."""
    rng = np.random.default_rng(5)
    return {
        "steps": np.array([7], np.int64),
        "a.bias": rng.standard_normal(3).astype(np.float32),
        "a.weight": rng.standard_normal((3, 4)).astype(np.float32),
        "scale": np.asarray(np.float32(0.5)),
    }


def wanted() -> bytes:
    """As a node computes ``base_model``."""
    return model_digest(Layers.of(named()).floats(named()))


def write(kind: str, path: Path) -> None:
    if kind.startswith("npz"):
        with path.open("wb") as file:
            (np.savez if kind == "npz" else np.savez_compressed)(file, **named())
    elif kind == "safetensors":
        save = pytest.importorskip("safetensors.numpy").save_file
        save(named(), path)
    else:
        torch = pytest.importorskip("torch")
        state = OrderedDict((name, torch.from_numpy(np.array(array))) for name, array in named().items())
        torch.save(state, path, _use_new_zipfile_serialization=kind == "torch")


@pytest.mark.parametrize("kind", ["npz", "npz, compressed", "safetensors", "torch", "torch, before 1.6"])
def test_a_file_has_the_digest_that_a_node_computes(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model"  # the name says nothing
    write(kind, path)
    assert {name: array.dtype for name, array in read_model(path).items()} == {
        name: array.dtype for name, array in named().items()
    }
    assert start_digest(read_model(path)) == wanted()
    assert digest_argument(str(path)) == wanted()


def test_one_array_in_a_file_of_its_own(tmp_path: Path) -> None:
    array = np.linspace(0, 1, 12).reshape(3, 4)
    np.save(tmp_path / "model.npy", array)
    assert digest_argument(str(tmp_path / "model.npy")) == model_digest([array])


def test_a_state_dict_and_a_record_of_flower_have_it_too() -> None:
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(np.array(array)) for name, array in named().items()}
    assert start_digest(state) == wanted()
    state["a.bias"] = torch.nn.Parameter(state["a.bias"])
    assert start_digest(state) == wanted()
    flwr = pytest.importorskip("flwr.app")
    assert start_digest(flwr.ArrayRecord({name: flwr.Array(array) for name, array in named().items()})) == wanted()


def test_bfloat16_is_read_as_the_same_values(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    save = pytest.importorskip("safetensors.torch").save_file
    state = {"layer": torch.linspace(-1, 1, 8, dtype=torch.bfloat16).reshape(2, 4)}
    values = model_digest([state["layer"].float().numpy()])
    torch.save(state, tmp_path / "torch")
    save(state, tmp_path / "safetensors")
    assert start_digest(state) == digest_argument(str(tmp_path / "torch")) == values
    assert digest_argument(str(tmp_path / "safetensors")) == values


def test_order_and_values_count_and_names_and_types_do_not() -> None:
    model = named()
    assert start_digest({f"x{i}": array.astype("f8") for i, array in enumerate(model.values())}) != wanted(), (
        "an integer that becomes a float is averaged"
    )
    doubled = {name: np.float64(array) if array.dtype == "f4" else array for name, array in model.items()}
    assert start_digest({f"x{name}": array for name, array in doubled.items()}) == wanted()
    turned = {name: model[name] for name in ("a.weight", "a.bias", "scale", "steps")}
    assert start_digest(turned) != wanted()
    assert start_digest(model | {"steps": np.array([8], np.int64)}) == wanted()
    assert start_digest(model | {"scale": np.asarray(np.float32(0.25))}) != wanted()


class Gadget:
    """What a pickle may call."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("touched"),))


def test_no_file_runs_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    Path("pickle").write_bytes(pickle.dumps({"layer": Gadget()}))
    torch.save({"layer": Gadget()}, "torch")
    np.savez("objects.npz", layer=np.array([Gadget()], dtype=object))
    np.save("objects.npy", np.array([Gadget()], dtype=object))
    for name in ("pickle", "torch", "objects.npz", "objects.npy"):
        with pytest.raises(ConfigError):
            read_model(name)
    assert not Path("touched").exists()


def test_what_is_no_model_is_refused_by_name(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"model": {"layer": torch.zeros(2)}, "epoch": 3}, tmp_path / "checkpoint")
    np.savez(tmp_path / "whole", steps=np.arange(3))
    (tmp_path / "text").write_text("0123456789 no model")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "header").write_bytes(b"\xff\xff\xff\xff\xff\xff\xff\x7f{")
    for name, said in (
        ("checkpoint", "nothing around it"),
        ("whole.npz", "nothing to average"),
        ("text", "no model that can be read"),
        ("empty", "no model that can be read"),
        ("header", "no model that can be read"),
        ("absent", "neither a file nor a digest"),
    ):
        with pytest.raises(ConfigError, match=said):
            digest_argument(str(tmp_path / name))
    with pytest.raises(ConfigError, match="can't be read"):
        read_model(tmp_path)
    with pytest.raises(UpdateError, match="'layer' is a list"):
        start_digest({"layer": [1.0]})


def test_a_digest_is_taken_as_it_is() -> None:
    assert digest_argument("ab" * 32) == bytes.fromhex("ab" * 32)
    for text in ("ab" * 31, "xy" * 32):
        with pytest.raises(ConfigError, match="neither a file nor a digest"):
            digest_argument(text)


@pytest.mark.parametrize("kind", [".npz", ".pt", ".pth"])
def test_a_model_that_is_written_is_read_with_names_types_and_order(kind: str, tmp_path: Path) -> None:
    if kind != ".npz":
        pytest.importorskip("torch")
    model = named() | {"a/b c.weight": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "file": np.zeros((0, 2), "f2")}
    write_model(tmp_path / f"model{kind}", model)
    found = read_model(tmp_path / f"model{kind}")
    assert list(found) == list(model)
    for name, array in model.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert np.array_equal(found[name], array)
    assert digest_argument(str(tmp_path / f"model{kind}")) == start_digest(model)


def test_one_array_is_written_alone(tmp_path: Path) -> None:
    array = np.linspace(0, 1, 12).reshape(3, 4)
    write_model(str(tmp_path / "model.npy"), {"layer": array})
    assert np.array_equal(np.load(tmp_path / "model.npy"), array)
    assert start_digest(read_model(tmp_path / "model.npy")) == start_digest({"layer": array})


def test_a_model_is_written_to_a_new_file_of_a_known_kind_or_not_at_all(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    for name, said in (
        ("model.npy", "model of 4 arrays"),
        ("model.safetensors", "written as .npz"),
        ("model", "written as .npz"),
        ("no/model.npz", "can't be written"),
    ):
        with pytest.raises(ConfigError, match=said):
            write_model(tmp_path / name, named())
    assert list(tmp_path.iterdir()) == []
    for name in ("model.npz", "model.npy", "model.pt"):
        (tmp_path / name).write_bytes(b"yesterday's")
        with pytest.raises(ConfigError, match="never overwritten"):
            write_model(tmp_path / name, {"layer": np.ones(3)})
        assert (tmp_path / name).read_bytes() == b"yesterday's"
    write_model(tmp_path / "new.pt", named())
    state = torch.load(tmp_path / "new.pt", weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())
    assert (tmp_path / "new.pt").stat().st_mode & 0o777 == 0o644
