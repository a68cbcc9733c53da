"""Trees on disk: every leaf comes back with its bits, and what is damaged or does not fit is told."""

import collections
import json
import os
import struct
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import fdl
import fdl.numpy as fnp
from fdl import optim, tree
from fdl.dtypes import bfloat16
from fdl.errors import FileError
from fdl.saving.tensors import read_tensors, write_tensors
from fdl.saving.trees import digest

Point = collections.namedtuple("Point", "x y")

DTYPES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128".split()


@tree.register_dataclass
@dataclass
class Layer:
    w: Any
    b: Any


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.safetensors"


def same(a: Any, b: Any) -> None:
    assert type(a) is type(b) or isinstance(a, fdl.Array)
    if isinstance(a, fdl.Array):
        assert a.dtype == b.dtype
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
        assert a.shape == np.shape(b)
    else:
        assert repr(a) == repr(b)


def bits(dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    """An array of a dtype of random bits, so that all kinds of NaN are among them."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    raw = np.random.default_rng(1).integers(0, 2 if dtype == "bool" else 256, size, np.uint8)
    return raw.view(dtype).reshape(shape)


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("dtype", [*DTYPES, bfloat16], ids=str)
def test_arrays_of_all_dtypes_and_shapes(dtype, mmap, path):
    state = [bits(dtype, shape) for shape in [(), (0,), (3, 0, 2), (1,), (7, 5), (2, 3, 4)]]
    state.append(bits(dtype, (6, 8))[::2, ::-1])  # no C order
    fdl.save(path, state)
    tree.map(same, fdl.load(path, mmap=mmap), state)


def test_structures_keys_and_leaves_of_python(path):
    state = {
        "z": [1.5, float("nan"), -0.0, True, 10**30, 1 + 2j, "text, 文"],
        "a": ((), {}, None, [None, {3: fnp.ones(2), False: 1}]),
        "keys": fdl.random.split(fdl.random.key(5), 3),
        "": {"a.b": fnp.ones(1), "a": {"b": fnp.zeros(1)}},  # names that are equal with points between
    }
    fdl.save(path, state)
    found = fdl.load(path)
    assert list(found) == list(state)
    assert tree.structure(found) == tree.structure(state)
    tree.map(same, found, state)


def test_other_nodes_become_dicts_unless_a_like_tree_is_given(path):
    state = (Point(fnp.ones(2), 3), Layer(fnp.zeros((2, 2)), None))
    fdl.save(path, state)
    assert tree.structure(fdl.load(path)) == tree.structure(({"x": 0, "y": 0}, {"w": 0, "b": None}))
    like = (Point(fdl.ShapeDtypeStruct((2,), "float32"), 0), Layer(np.zeros((2, 2), "float32"), None))
    found = fdl.load(path, like=like)
    assert tree.structure(found) == tree.structure(state)
    tree.map(same, found, state)


def test_the_state_of_training_goes_on_with_the_same_bits(path):
    params = {"w": fnp.linspace(-1.0, 1.0, 12).reshape(3, 4)}
    optimizer = optim.adam(0.1)
    state = optimizer.init(params)

    @fdl.jit
    def step(params, state, x):
        updates, state = optimizer.update(fdl.grad(lambda p: fnp.sum(fnp.tanh(x @ p["w"]) ** 2))(params), state, params)
        return optim.apply_updates(params, updates), state

    x = fnp.ones((5, 3))
    params, state = step(params, state, x)
    fdl.save(path, (params, state))
    expected = step(params, state, x)
    again = fdl.load(path, like=(params, state))
    tree.map(same, step(*again, x), expected)


def test_files_of_other_programs_and_for_them(path):
    arrays = {"layers.0.w": np.ones((2, 3), np.float32), "layers.1.w": np.zeros((3, 1), np.float32)}
    safetensors.numpy.save_file(arrays, path)
    assert {name: array.shape for name, array in fdl.load(path).items()} == {"layers.0.w": (2, 3), "layers.1.w": (3, 1)}
    like = {"layers": [{"w": fdl.ShapeDtypeStruct(shape, "float32")} for shape in [(2, 3), (3, 1)]]}
    found = fdl.load(path, like=like)
    tree.map(same, found, {"layers": [{"w": arrays["layers.0.w"]}, {"w": arrays["layers.1.w"]}]})
    fdl.save(path, found)
    again = safetensors.numpy.load_file(path)
    assert set(again) == set(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(again[name], array)


def test_like_that_does_not_fit(path):
    fdl.save(path, {"w": fnp.ones((2, 3)), "b": fnp.ones(3), "n": 4})
    w, b = fdl.ShapeDtypeStruct((2, 3), "float32"), fdl.ShapeDtypeStruct((3,), "float32")
    with pytest.raises(FileError, match=r"it has no 'extra'; `like` has no 'n'"):
        fdl.load(path, like={"w": w, "b": b, "extra": b})
    with pytest.raises(FileError, match=r"has f32\[3\] as 'b', where like\['b'\] is f64\[3\]"):
        fdl.load(path, like={"w": w, "b": np.zeros(3), "n": 0})
    with pytest.raises(FileError, match=r"has f32\[2,3\] as 'w', where like\['w'\] is f32\[3,2\]"):
        fdl.load(path, like={"w": fdl.ShapeDtypeStruct((3, 2), "float32"), "b": b, "n": 0})
    with pytest.raises(FileError, match=r"has 4 as 'n', where like\['n'\] is 0.5"):
        fdl.load(path, like={"w": w, "b": b, "n": 0.5})


@pytest.mark.parametrize(
    "leaf, said",
    [(object(), "is object"), (np.array(["a"]), "dtype <U1"), (np.array([None]), "dtype object"), (b"x", "is bytes")],
    ids=["object", "text", "objects", "bytes"],
)
def test_leaves_that_no_file_holds(leaf, said, path):
    fdl.save(path, 1)
    with pytest.raises(FileError, match=rf"tree\['a'\]\[1\].*{said}"):
        fdl.save(path, {"a": [1, leaf]})
    assert fdl.load(path) == 1
    assert os.listdir(path.parent) == [path.name]


def test_every_damaged_byte_is_told(path):
    fdl.save(path, {"w": np.arange(50.0), "b": [1, "x"]})
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header = content[8 : 8 + length]
    rng = np.random.default_rng(0)
    for place in [*range(24), *rng.integers(24, len(content), 150)]:
        if 8 + len(header.rstrip()) <= place < 8 + length:
            continue  # spaces behind the header
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            found = fdl.load(path)
        except FileError as error:
            assert "state.safetensors" in str(error)
        else:  # the name of the metadata was hit, so that this is a file of another program, all of it there
            assert b"fdl_tree" not in damaged
            assert list(found) == ["w"]
    for size in (0, 7, 8, 100, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(FileError):
            fdl.load(path)
    with pytest.raises(FileNotFoundError):
        fdl.load(path.with_name("absent"))


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda v: v.update(format=2), "format 2"),
        (lambda v: v.update(structure={"System": [0]}), "no node 'System'"),
        (lambda v: v["leaves"].append(["x", [[], "float32"]]), "x"),
        (lambda v: v["leaves"].__setitem__(0, ["eval", "1"]), "eval"),
        (lambda v: v.update(structure={"list": [0, 0]}), "other leaves"),
        (lambda v: v.update(structure={"list": [{"list": []}] * 3}), "other leaves"),
    ],
)
def test_what_is_signed_but_wrong_is_refused(change, said, path):
    fdl.save(path, [np.zeros(2, "float32"), 5])
    tensors, texts = read_tensors(path.read_bytes())
    values = json.loads(texts["fdl_tree"])
    change(values)
    text = json.dumps(values)
    path.write_bytes(b"".join(write_tensors(tensors, {"fdl_tree": text, "sha256": digest(text, tensors)})))
    with pytest.raises(FileError, match=said):
        fdl.load(path)


def test_a_write_that_fails_leaves_the_file_that_was_there(path, monkeypatch):
    fdl.save(path, {"step": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fdl.saving.atomic.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        fdl.save(path, {"step": 2})
    saving = fdl.save(path, {"step": 3}, wait=False)
    with pytest.raises(OSError, match="No space"):
        saving.wait()
    assert fdl.load(path) == {"step": 1}
    assert os.listdir(path.parent) == [path.name]
    with pytest.raises(FileNotFoundError, match="no such folder"):
        fdl.save(path.parent / "absent" / "file", 1)


def test_saving_in_the_background_keeps_the_values_of_the_call(path):
    array = np.zeros(1000)
    donated = fnp.arange(1000.0)
    expected = np.arange(1000.0, dtype="float32")
    savings = []
    for step in range(5):
        array[:] = step
        savings.append(fdl.save(path, {"step": step, "array": array, "donated": donated}, wait=False))
        donated = fdl.jit(lambda x: x + 1, donate_argnums=0)(donated)
        array[:] = -1
    for saving in savings:
        saving.wait(timeout=60)
        assert saving.done()
    found = fdl.load(path)
    assert found["step"] == 4
    np.testing.assert_array_equal(found["array"], np.full(1000, 4.0))
    np.testing.assert_array_equal(found["donated"], expected + 4)


def test_an_interpreter_that_ends_finishes_its_files(path):
    code = f"import fdl, numpy as np; fdl.save({str(path)!r}, [np.ones(10**6)], wait=False)"
    subprocess.run([sys.executable, "-c", code], check=True)
    np.testing.assert_array_equal(fdl.load(path)[0], np.ones(10**6))


def test_mapped_arrays_outlive_the_file_and_are_not_written_to(path):
    fdl.save(path, {"w": np.arange(1000.0)})
    before = path.read_bytes()
    found = fdl.load(path, mmap=True)
    fdl.jit(lambda x: x * 2, donate_argnums=0)(found["w"])
    assert path.read_bytes() == before
    found = fdl.load(path, mmap=True)
    fdl.save(path, {"w": np.zeros(1000)})
    np.testing.assert_array_equal(found["w"], np.arange(1000.0))
    path.unlink()
    np.testing.assert_array_equal(found["w"] * 2, 2 * np.arange(1000.0))


def test_keys_and_numbers_that_no_file_holds(path):
    for key in ((1, 2), 1.5):
        with pytest.raises(FileError, match="no file can hold"):
            fdl.save(path, {key: 1})


def test_an_unknown_dtype_is_named(path):
    header = json.dumps({"x": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"0")
    with pytest.raises(FileError, match="'x' has dtype F8_E4M3, which fdl has not"):
        fdl.load(path)


@pytest.mark.skipif(os.name == "nt", reason="modes and links of POSIX")
def test_modes_and_links_stay(path):
    fdl.save(path, 1)
    path.chmod(0o600)
    link = path.with_name("latest")
    link.symlink_to(path)
    fdl.save(link, 2)
    assert link.is_symlink()
    assert fdl.load(path) == 2
    assert path.stat().st_mode & 0o777 == 0o600
