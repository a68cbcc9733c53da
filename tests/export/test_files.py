"""Exported functions: the same bits from the file, for any number of rows; damaged files are one clear error."""

import json
import struct
import subprocess
import sys
from typing import Any, NamedTuple

import numpy as np
import pytest
import safetensors.numpy

import fdl
import fdl.numpy as fnp
from fdl import export, nn
from fdl.errors import ExportError
from fdl.saving.tensors import read_tensors, write_tensors
from fdl.saving.trees import digest


class Layer(NamedTuple):
    weight: Any
    bias: Any


PRIMES = np.float32([2, 3, 5])


def apply(params: Any, batch: Any) -> dict[str, Any]:
    """A convolution, a scan, a lookup, a custom derivative rule and a constant."""
    images = nn.relu(fdl.lax.conv(batch["image"][:, None], params["kernel"], (1, 1), "SAME")).mean((2, 3))
    _, carried = fdl.lax.scan(lambda carry, step: (carry * step, carry + step), fnp.ones(4), params["steps"])
    rows = fnp.take(params["table"], batch["user"], axis=0) * fnp.asarray(PRIMES) + carried[-1, :3]
    layer = params["layers"][0]
    return {"scores": nn.softmax(fnp.concatenate([images, rows], 1) @ layer.weight + layer.bias), "user": batch["user"]}


@pytest.fixture(scope="module")
def params() -> Any:
    rng = np.random.default_rng(0)
    return {
        "kernel": rng.normal(size=(2, 1, 3, 3)).astype(np.float32),
        "steps": rng.normal(size=(3, 4)).astype(np.float32),
        "table": rng.normal(size=(10, 3)).astype(np.float32),
        "layers": [Layer(rng.normal(size=(5, 4)).astype(np.float32), np.zeros(4, np.float32))],
        "nothing": None,
    }


def rows(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {
        "image": rng.normal(size=(count, 6, 6)).astype(np.float32),
        "user": rng.integers(0, 10, count, np.int32),
    }


@pytest.fixture(scope="module")
def exported(params: Any) -> export.Exported:
    return export.export(apply, params, rows(4), {"classes": 4})


def test_a_file_gives_the_same_bits_for_any_number_of_rows(exported, params, tmp_path):
    export.save(tmp_path / "model.safetensors", exported)
    again = export.load(tmp_path / "model.safetensors")
    assert again.info == {"classes": 4}
    for count in (0, 1, 3, 4, 5, 11):
        batch = rows(count)
        expected = fdl.jit(apply)(params, batch)
        found = again(batch)
        assert found["scores"].shape == (count, 4)
        np.testing.assert_array_equal(found["user"], batch["user"])
        np.testing.assert_allclose(found["scores"], expected["scores"], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(found["scores"], exported(batch)["scores"])
        np.testing.assert_array_equal(found["scores"], fdl.jit(again.apply)(again.params, batch)["scores"])
    np.testing.assert_array_equal(again(rows(4))["scores"], fdl.jit(apply)(params, rows(4))["scores"])
    assert sorted(tmp_path.iterdir()) == [tmp_path / "model.safetensors"]


def test_parameters_keep_their_names_and_nodes_of_classes_become_dicts(exported, params):
    content = export.to_bytes(exported)
    again = export.from_bytes(content)
    np.testing.assert_array_equal(again.params["layers"][0]["weight"], params["layers"][0].weight)
    assert again.params["nothing"] is None
    named = safetensors.numpy.load(content)  # by the library of the format
    np.testing.assert_array_equal(named["params['layers'][0]['weight']"], params["layers"][0].weight)
    assert fdl.make_program(again.apply)(again.params, rows(4)).input_types[-1].shape == (4,)


def test_a_process_with_fdl_alone_runs_what_it_opens(exported, tmp_path):
    """Neither the module of the function nor anything of Spark is there."""
    export.save(tmp_path / "model.safetensors", exported)
    np.savez(tmp_path / "rows.npz", **rows(3))
    code = f"""
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("pyspark", "pyarrow", "safetensors", "tests", "fdl_spark"):
            raise ImportError(name)
sys.meta_path.insert(0, Hidden())
import numpy as np, fdl
model = fdl.export.load({str(tmp_path)!r})
np.save({str(tmp_path / "out.npy")!r}, model(dict(np.load({str(tmp_path / "rows.npz")!r})))["scores"])
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), exported(rows(3))["scores"])


def test_every_damaged_byte_is_told(exported, tmp_path):
    content = export.to_bytes(exported)
    rng = np.random.default_rng(0)
    places = [*range(24), *rng.integers(24, len(content), 200).tolist()]
    (length,) = struct.unpack_from("<Q", content)
    padding = len(content[8 : 8 + length]) - len(content[8 : 8 + length].rstrip())
    for place in places:
        if 8 + length - padding <= place < 8 + length:
            continue  # spaces behind the header
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        with pytest.raises(ExportError, match="f.safetensors"):
            export.from_bytes(bytes(damaged), "f.safetensors")
    for length in (0, 7, 8, 100, len(content) - 1):
        with pytest.raises(ExportError):
            export.from_bytes(content[:length])
    with pytest.raises(ExportError):
        export.from_bytes(content + b"0")
    with pytest.raises(ExportError, match="is no exported function"):
        export.from_bytes(safetensors.numpy.save({"x": np.zeros(3)}))


def signed(exported: export.Exported, change: Any) -> bytes:
    """The bytes of an exported function whose JSON was changed, with the digest that belongs to it."""
    tensors, texts = read_tensors(export.to_bytes(exported))
    values = json.loads(texts["fdl"])
    change(values)
    text = json.dumps(values)
    return b"".join(write_tensors(tensors, {"fdl": text, "sha256": digest(text, tensors)}))


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda v: v.update(format=2), "format 2"),
        (lambda v: v["program"]["equations"][0][0].__setitem__(0, "System"), "no operation System"),
        (lambda v: v["arguments"]["tuple"].pop(), "cannot be read"),
        (lambda v: v.update(result={"list": [0]}), "the result is not that of the program"),
        (lambda v: v.update(arguments={"set": []}), "no node 'set'"),
        (lambda v: v["program"]["outputs"].append(0), "the result is not that of the program"),
        (lambda v: v["constants"][0][0].append(1), "in the place of"),
        (lambda v: v.pop("info"), "info"),
    ],
)
def test_what_is_signed_but_wrong_is_refused(exported, change, said):
    with pytest.raises(ExportError, match=said):
        export.from_bytes(signed(exported, change))


def test_functions_that_no_file_can_hold():
    x = fdl.ShapeDtypeStruct((2, 3), "float32")
    with pytest.raises(ExportError, match="row for each"):
        export.export(lambda p, x: x.sum(), 0.0, x)
    with pytest.raises(ExportError, match="same rows first"):
        export.export(lambda p, x: x, 0.0, fdl.ShapeDtypeStruct((), "float32"))
    with pytest.raises(ExportError, match=r"callback at test_files.py.*fdl's own operations only"):
        export.export(lambda p, x: fdl.pure_callback(np.sin, x, x), 0.0, x)
    with pytest.raises(ExportError, match="has a key"):
        export.export(lambda p, x: x, {(1, 2): 0.0}, x)


def test_other_arguments_than_it_was_exported_for(exported):
    batch = rows(4)
    with pytest.raises(ExportError, match=r"batch\['image'\] is float32\[4, 6\]; .* float32\[rows, 6, 6\]"):
        exported({**batch, "image": batch["image"][:, 0]})
    with pytest.raises(ExportError, match="missing 'user'"):
        exported({"image": batch["image"]})
    with pytest.raises(ExportError, match="different numbers of rows"):
        exported({**batch, "user": batch["user"][:2]})
    with pytest.raises(ExportError, match=r"batch\['user'\] is float32"):
        exported({**batch, "user": batch["user"].astype(np.float32)})
    wide = {"image": batch["image"].astype(np.float64), "user": batch["user"].astype(np.int64)}
    np.testing.assert_array_equal(exported(wide)["scores"], exported(batch)["scores"])


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "bfloat16", "bool", "uint8"])
def test_dtypes_of_parameters(dtype):
    held = np.array([[1, 0], [0, 1]]).astype(fnp.dtype(dtype))
    model = export.export(lambda p, x: x * (p != 0).sum(), held, fdl.ShapeDtypeStruct((2,), "float32"))
    again = export.from_bytes(export.to_bytes(model)).params
    assert again.dtype == held.dtype
    assert again.tobytes() == held.tobytes()


def test_random_keys_are_constants():
    key = fdl.random.key(3)
    model = export.export(lambda p, x: x + fdl.random.normal(key, (3,)), 0.0, fdl.ShapeDtypeStruct((2, 3), "float32"))
    again = export.from_bytes(export.to_bytes(model))
    np.testing.assert_array_equal(again(np.zeros((2, 3), np.float32))[0], fdl.random.normal(key, (3,)))


def test_programs_of_any_arguments(tmp_path):
    weights = fnp.linspace(-1.0, 1.0, 6).reshape(3, 2)

    def fun(state, x, *, scale=2.0):
        return {"out": (state["a"] * (x @ weights), scale + state["b"])}

    types = {"a": fdl.ShapeDtypeStruct((), "float32"), "b": fdl.ShapeDtypeStruct((2,), "int32")}
    made = export.program(fdl.jit(fun), types, fdl.ShapeDtypeStruct((4, 3), "float32"))
    export.save(tmp_path / "program.safetensors", made)
    again = export.load(tmp_path / "program.safetensors")
    assert isinstance(again, export.ExportedProgram)
    assert again.in_types == (types, fdl.ShapeDtypeStruct((4, 3), "float32"))
    assert again.out_types == {"out": (fdl.ShapeDtypeStruct((4, 2), "float32"), fdl.ShapeDtypeStruct((2,), "float32"))}
    state, x = {"a": fnp.float32(3), "b": fnp.arange(2)}, fnp.arange(12.0).reshape(4, 3)
    for found, expected in zip(again(state, x)["out"], fun(state, x)["out"], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    slope = fdl.grad(lambda a: again({**state, "a": a}, x)["out"][0].sum())(fnp.float32(3))
    np.testing.assert_allclose(slope, (np.asarray(x) @ np.asarray(weights)).sum(), rtol=1e-5)
    rows = fdl.vmap(lambda x: again(state, x)["out"][0])(fnp.stack([x, 2 * x]))
    np.testing.assert_allclose(rows[1], 2 * np.asarray(rows[0]), rtol=1e-6)
    with pytest.raises(ExportError, match=r"the arguments\[1\] is f.*\[5, 3\]; it was exported for"):
        again(state, fnp.ones((5, 3)))
    with pytest.raises(ExportError, match="the arguments is not as it was exported"):
        again(x, state)
    with pytest.raises(ExportError, match="callback"):
        export.program(lambda x: fdl.pure_callback(np.sin, x, x), x)
