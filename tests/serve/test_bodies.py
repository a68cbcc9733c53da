"""Bodies in all formats say the same, and a body that is wrong, damaged or hostile is refused, whatever it holds."""

import asyncio
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.serve import Application, application
from fdl.serve.bodies import ARROW, FORMATS, JSON, NPY, NPZ, BodyFormat
from fdl.serve.refusal import Refusal
from fdl.serve.signature import NamedType, checked
from tests.serve.client import Answer, call, post, served

X, IDS = np.arange(12, dtype=np.float32).reshape(2, 3, 2) / 7, np.array([3, 250], np.uint8)
TYPES = (NamedType("x", (3, 2), np.dtype("float32"), True), NamedType("text.ids", (), np.dtype("uint8"), True))
GIVEN = {"x": X, "text.ids": IDS}


def both(batch: Any) -> Any:
    return {"sum": batch["x"].sum(axis=1), "next": batch["text"]["ids"].astype(fnp.int32) + 1}


@pytest.fixture(scope="module")
def app() -> Application:
    example = {"x": fdl.ShapeDtypeStruct((1, 3, 2), "float32"), "text": {"ids": fdl.ShapeDtypeStruct((1,), "uint8")}}
    return application(both, None, example, batch_sizes=[2], max_delay_ms=0)


def body(kind: BodyFormat, types: Any = TYPES, given: Any = GIVEN) -> bytes:
    if kind is ARROW:
        pytest.importorskip("pyarrow")
    return kind.write(types, False, [given[type.name] for type in types])


def ask(requests: list[tuple[bytes, str, str]]) -> list[Answer]:
    """Answers to (body, Content-Type, Accept), of a new application: one has the life of one event loop."""
    fresh = application(
        lambda x: fnp.stack([x, 1 / x], 1), None, np.ones(1, np.float32), batch_sizes=[3], max_delay_ms=0
    )

    async def talk() -> list[Answer]:
        return [await call(fresh, "/predict", b, content_type=c, accept=a) for b, c, a in requests]

    return served(fresh, talk)


def test_formats_hold_the_same_arrays(app: Application) -> None:
    async def talk() -> None:
        for sent in (JSON, NPZ, ARROW):
            for accepted in (JSON, NPZ, ARROW):
                answer = await call(
                    app, "/predict", body(sent), content_type=sent.media_type, accept=accepted.media_type
                )
                assert (answer.status, answer.headers["content-type"]) == (200, accepted.media_type)
                types = tuple(
                    NamedType(name, shape, np.dtype(dtype), True)
                    for name, shape, dtype in (("sum", (2,), "float32"), ("next", (), "int32"))
                )
                arrays = checked(types, accepted.read(types, False, answer.body, 999), 9)
                found = dict(zip(("sum", "next"), arrays, strict=True))
                np.testing.assert_allclose(found["sum"], X.sum(axis=1), rtol=1e-6)
                np.testing.assert_array_equal(found["next"], [4, 251])

    served(app, talk)


def test_one_array_needs_no_name() -> None:
    x = np.array([2, 0, np.nan], np.float32)
    file = io.BytesIO()
    np.save(file, x)
    with np.errstate(divide="ignore"):
        expected = np.stack([x, 1 / x], 1)
    bare, named, npy, other = ask(
        [
            (b'[2, 0, "NaN"]', JSON.media_type, "*/*"),
            (b'{"input": [2, 0, "NaN"]}', JSON.media_type, "text/html, application/json;q=0.5"),
            (file.getvalue(), NPY.media_type, ""),
            (file.getvalue(), NPY.media_type, "application/json;q=0.3, application/x-npz"),
        ]
    )
    assert bare.json == [[2, 0.5], [0, "Infinity"], ["NaN", "NaN"]] == named.json
    np.testing.assert_array_equal(np.load(io.BytesIO(npy.body), allow_pickle=False), expected)
    np.testing.assert_array_equal(np.load(io.BytesIO(other.body), allow_pickle=False)["output"], expected)


def test_arrow_columns_of_lists_tensors_and_several_batches() -> None:
    pa = pytest.importorskip("pyarrow")
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(X)
    lists = pa.array(X.tolist(), pa.list_(pa.list_(pa.float32())))
    for column in (tensor, lists):
        table = pa.table({"x": pa.chunked_array([column.slice(0, 1), column.slice(1, 1)]), "text.ids": IDS.tolist()})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=1)
        found = checked(TYPES, ARROW.read(TYPES, False, sink.getvalue().to_pybytes(), 999), 9)
        np.testing.assert_array_equal(found[0], X)
        np.testing.assert_array_equal(found[1], IDS)
    empty = ARROW.read(TYPES, False, body(ARROW, given={"x": X[:0], "text.ids": IDS[:0]}), 999)
    assert empty["x"].shape == (0, 3, 2)


class Trap:
    """Unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def zipped(**entries: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name.replace("__", "."), content)
    return file.getvalue()


@pytest.mark.parametrize(
    "wrap", [lambda b: (NPY, b), lambda b: (NPZ, zipped(x__npy=b)), lambda b: (NPY, pickle.dumps(b))]
)
def test_objects_are_refused_and_not_made(wrap: Callable[[bytes], tuple[BodyFormat, bytes]], tmp_path: Path) -> None:
    kind, content = wrap(npy(np.array([Trap(tmp_path / "ran")], object)))
    with pytest.raises(Refusal, match="no .npy file"):
        kind.read(TYPES[:1], False, content, 9999)
    assert not (tmp_path / "ran").exists()


def text(**values: Any) -> bytes:
    return json.dumps({"x": X.tolist(), "text.ids": [3, 250], **values}).encode()


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b"{", 400, "the body is no JSON"),
        (b"[" * 100_000, 400, "the body is no JSON"),
        (b'{"x": NaN}', 400, "NaN is no number of JSON"),
        (b"[1]", 422, "a JSON object of arrays by name"),
        (b'{"x": []}', 422, "input 'text.ids' is missing"),
        (text(y=[1]), 422, "there is no input 'y'"),
        (text(x=[[[1, 2]]]), 422, r"expected float32\[rows, 3, 2\], got int64\[1, 1, 2\]"),
        (text(x=[[1], [2, 3]]), 422, "'x' is no array of numbers"),
        (text(x=[[["1", 2]] * 3] * 2), 422, "'x' is no array of numbers"),
        (text(x=None), 422, "'x' is no array of numbers"),
        (text(x=[[[1e39, 2]] * 3] * 2), 422, "'x' has numbers outside of float32"),
        (text(**{"text.ids": [1.5, 2]}), 422, r"wrong dtype: expected uint8\[rows\], got float64\[2\]"),
        (text(**{"text.ids": [-1, 2]}), 422, "numbers outside of uint8"),
        (text(**{"text.ids": [10**30, 2]}), 422, "'text.ids' is no array of numbers"),
        (text(**{"text.ids": [1, 2, 3]}), 422, "different numbers of rows"),
        (text(x=[X[0].tolist()] * 10, **{"text.ids": [1] * 10}), 413, "10 rows are more than 9"),
    ],
)
def test_wrong_json_is_refused(content: bytes, status: int, said: str) -> None:
    with pytest.raises(Refusal, match=said) as refused:
        checked(TYPES, JSON.read(TYPES, False, content, 999), 9)
    assert refused.value.status == status


def test_binary_bodies_that_claim_more_than_they_hold_are_refused() -> None:
    one, header = TYPES[:1], npy(X).replace(b"(2, 3, 2)", b"(2, 3, 9)")
    with pytest.raises(Refusal, match=r"takes 216 bytes, and 48 follow"):
        NPY.read(one, False, header, 999)
    with pytest.raises(Refusal, match="more than 999 bytes") as refused:
        NPZ.read(one, False, zipped(x__npy=npy(np.zeros(10_000))), 999)
    assert refused.value.status == 413
    with pytest.raises(Refusal, match="other arrays than the inputs"):
        NPZ.read(one, False, zipped(x__npy=npy(X), y__npy=npy(X)), 999)
    pa = pytest.importorskip("pyarrow")
    refusals = {
        "compressed": (pa.table({"x": np.zeros(9999)}), pa.ipc.IpcWriteOptions(compression="zstd")),
        "dictionaries": (pa.table({"x": pa.array(["a", "b"]).dictionary_encode()}), None),
        "column of numbers": (pa.table({"x": pa.nulls(10**9)}), None),
        "missing values": (pa.table({"x": pa.array([1.0, None])}), None),
        "different lengths": (pa.table({"x": pa.array([[1.0], [1.0, 2.0]])}), None),
    }
    for said, (table, options) in refusals.items():
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
            writer.write_table(table)
        with pytest.raises(Refusal, match=said):
            ARROW.read(one, False, sink.getvalue().to_pybytes(), 999)


@pytest.mark.parametrize("kind", FORMATS.values(), ids=lambda kind: kind.media_type)
def test_damaged_bodies_are_refused_or_read(kind: BodyFormat) -> None:
    types = TYPES[:1]
    whole, rng = body(kind, types), np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole)
        for place in rng.integers(len(whole), size=rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        content = bytes(damaged[: rng.integers(len(whole))] if rng.random() < 0.3 else damaged)
        try:
            (found,) = checked(types, kind.read(types, False, content, 9999), 9)
        except Refusal as refused:
            assert refused.status in (400, 413, 422)
        else:
            assert found.shape[1:] == (3, 2) and found.dtype == np.float32


def test_media_types_are_negotiated() -> None:
    array = npy(np.ones(2, np.float32))
    answers = ask(
        [
            (b"a=1", "application/x-www-form-urlencoded", ""),
            (array, NPY.media_type, "image/png"),
            (array, NPY.media_type, "application/json;q=0, */*;q=0"),
            (array, NPY.media_type, "*/*;q=much"),
        ]
    )
    assert [answer.status for answer in answers] == [415, 406, 406, 400]
    assert "application/x-npz" in answers[0].json["error"] and answers[0].headers["connection"] == "close"


def test_complex_numbers_have_no_json() -> None:
    app = application(lambda x: x * 1j, None, np.ones(1, np.complex64), max_batch=1)

    async def talk() -> None:
        assert (await post(app, [1])).status == 406
        sent = {"content_type": NPY.media_type}
        answer = await call(app, "/predict", npy(np.array([2j], np.complex64)), **sent)
        assert np.load(io.BytesIO(answer.body)) == [-2]
        assert (await asyncio.gather(call(app, "/predict", npy(np.array(["a"])), **sent)))[0].status == 400

    served(app, talk)
