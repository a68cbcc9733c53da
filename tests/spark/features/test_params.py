"""Parameters are checked, explained and written as JSON, whatever their encoder; opening a file runs no code."""

import json
import pickle
import re
import subprocess
import sys

import cloudpickle
import numpy as np
import pyarrow as pa
import pytest

import fdl_spark
from fdl_spark import ArgumentError, DataError, features
from fdl_spark.data.encoder import Encoder
from fdl_spark.features.params import KINDS

MADE = [
    features.numeric("a", dtype=np.int32),
    features.standardise("a", "b", output="x", mean=np.array([[1], [2]]), scale=[[0.1], [1e300]]),
    features.impute("a", value=[-0.5], strategy="median"),
    features.bucketize("a", splits=[1, 2.5], missing="bucket"),
    features.hashed("a", buckets=3),
    features.crossed("a", features.bucketize("b", splits=[0.1]), output="x", buckets=9, missing=""),
    features.vocabulary("a", values=["ü\n", '"', "\U0001f600", "\0"]),
    features.one_hot(features.hashed("a", buckets=2)),
    features.date_parts("a", parts=["hour"]),
    features.seconds_since("a", origin="2020-01-01T00:00:00+02:00"),
    features.tokenise("a", length=3, values=["b"]),
    features.pad("a", length=3, buckets=[1, 3]),
    features.vector("a", width=3),
    features.image("a", height=2, width=3, mean=[0.1, 0.2, 0.3], on_error="zeros"),
    features.log_mel("a", sample_rate=8000, samples=800, window=100),
    features.waveform("a", sample_rate=8000, samples=800, missing="silence"),
    features.raw("a", shape=[2, 3]),
]
FITTED = [features.Features((encoder,)) for encoder in MADE]
one_each = pytest.mark.parametrize("fitted", FITTED, ids=[encoder.kind for encoder in MADE])


def test_all_encoders_are_tried():
    sounds = {"shift", "speed", "volume", "white_noise"}
    images = {"flip", "crop", "resized_crop", "normalise", "colour_jitter", "cutout"}
    augmentations = {"noise", "negatives"} | images | sounds
    assert {encoder.kind for encoder in MADE} == set(KINDS) - augmentations
    assert {encoder.kind for encoder in MADE} <= set(features.__all__)


@one_each
def test_files_hold_all(fitted, tmp_path):
    path = str(tmp_path / "new" / "features.json")
    fitted.save(path)
    fitted.save(path)  # over itself
    again = features.load(path)
    assert again == fitted and again.to_json() == fitted.to_json() and repr(again) == repr(fitted)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["features.json"]
    assert pickle.loads(cloudpickle.dumps(fitted)) == fitted
    assert isinstance(fitted, Encoder)


@one_each
def test_each_parameter_is_explained(fitted):
    (encoder,) = fitted.encoders
    lines = encoder.explain().splitlines()
    assert len(lines) == len(encoder.to_json()) - 1
    assert not [line for line in lines if re.match(r"\w+: \((default|current): ", line)]
    assert encoder.kind in fitted.explain()


def test_a_failed_save_leaves_the_file_that_was_there(tmp_path, monkeypatch):
    path = tmp_path / "features.json"
    FITTED[0].save(str(path))
    before = path.read_bytes()

    def full(*_):
        raise OSError("no room")

    monkeypatch.setattr("fdl_spark.checkpoints.files.LocalFiles.move", full)
    with pytest.raises(DataError, match="no room"):
        FITTED[1].save(str(path))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    with pytest.raises(DataError, match="cannot be written"):
        FITTED[1].save(str(path / "below a file.json"))


def changed(**values):
    return {"version": 1, "encoders": [features.hashed("a", buckets=3).to_json() | values]}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([], "there is no version"),
        ({"encoders": []}, "there is no version"),
        ({"version": 2, "encoders": []}, "version 2, and this fdl_spark reads version 1"),
        ({"version": 1}, "a list of encoders"),
        ({"version": 1, "encoders": [], "more": 1}, "nothing else"),
        ({"version": 1, "encoders": []}, "the encoders must be a list"),
        ({"version": 1, "encoders": [3]}, "no kind that this version knows"),
        (changed(kind="os.system"), "no kind that this version knows"),
        (changed(buckets="3"), "buckets must be a whole number, not '3'"),
        (changed(buckets=True), "buckets must be a whole number"),
        (changed(buckets=0), "at least 1"),
        (changed(column=None), "column must be a string"),
        (changed(colour=1), "has colour, which this version does not know"),
        (
            {"version": 1, "encoders": [{"kind": "hashed", "column": "a"}]},
            "hashed lacks output, buckets, missing, seed",
        ),
        ({"version": 1, "encoders": [features.vector("a").to_json()]}, "has not learned yet"),
        ({"version": 1, "encoders": [features.augment.noise("a", scale=1).to_json()]}, "an encoder is what"),
        ({"version": 1, "encoders": 2 * [features.hashed("a", buckets=3).to_json()]}, "both give 'a'"),
    ],
)
def test_files_that_are_not_ours_are_refused(value, text, tmp_path):
    path = tmp_path / "features.json"
    path.write_text(json.dumps(value))
    with pytest.raises(DataError, match=text) as raised:
        features.load(str(path))
    assert "features.json" in str(raised.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        features.load(str(tmp_path / "nothing.json"))
    (tmp_path / "cut.json").write_bytes(b'{"version": 1, "enc\xff')
    with pytest.raises(DataError, match="is no JSON"):
        features.load(str(tmp_path / "cut.json"))
    with pytest.raises(ArgumentError, match="must be that of a file"):
        features.load("folder/")


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: features.numeric(), "give it a column"),
        (lambda: features.numeric("a", "a"), "have a name twice"),
        (lambda: features.numeric(3), "columns must be a list, each of a string"),
        (lambda: features.numeric("a", dtype="complex64"), "dtype must be one of 'float16'"),
        (lambda: features.numeric("a", dtype="int8", missing=0.5), "no int8"),
        (lambda: features.numeric("a", missing=float("nan")), "missing must be a finite number or None"),
        (lambda: features.standardise("a", mean=[[1.0]]), "both mean and scale"),
        (lambda: features.standardise("a", mean=[[1.0]], scale=[[0.0]]), "greater than 0"),
        (lambda: features.standardise("a", mean=[[1.0], [2.0]], scale=[[1.0], [1.0]]), "one list of numbers for each"),
        (lambda: features.bucketize("a", splits=[2, 1]), "ascending"),
        (lambda: features.bucketize("a", buckets=1), "at least 2"),
        (lambda: features.bucketize("a", splits="12"), "splits must be a list, each of a finite number or None"),
        (lambda: features.hashed("a", buckets=2.5), "buckets must be a whole number, not 2.5"),
        (lambda: features.hashed("\ud800", buckets=2), "column must be a string"),
        (lambda: features.vocabulary("a", values=["\udfff"]), "values must be a list, each of a string"),
        (lambda: features.vocabulary("a", values=["b", "b"]), "has 'b' twice"),
        (lambda: features.one_hot(features.numeric("a")), "of must be an encoder"),
        (lambda: features.crossed("a", output="x", buckets=3), "at least two"),
        (lambda: features.date_parts("a", parts=["year"]), "a year has no cycle"),
        (lambda: features.date_parts("a", parts=["week"]), "each of one of 'year'"),
        (lambda: features.seconds_since("a", origin="yesterday"), "ISO 8601"),
        (lambda: features.tokenise("a", length=0), "at least 1"),
        (lambda: features.tokenise("a", length=3, separator="("), "no regular expression"),
        (lambda: features.pad("a", buckets=[3, 2]), "ascending"),
        (lambda: features.pad("a", dtype="uint8", value=-1), "no uint8"),
        (lambda: features.image("a", height=2, width=2, dtype="uint8", mean=[0, 0, 0]), "dtype must be float32"),
        (lambda: features.log_mel("a", sample_rate=8000, samples=10), "window must be"),
        (lambda: features.log_mel("a", sample_rate=8000, samples=1000, high=5000.0), "half the sample rate"),
        (lambda: features.Features((features.vocabulary("a"),)), "has not learned yet"),
        (lambda: features.fit([], {}), "must be a list"),
        (lambda: features.fit([features.numeric("a"), features.hashed("a", buckets=2)], {}), "both give 'a'"),
        (lambda: features.augment.flip("a", probability=2), "from 0 to 1"),
        (lambda: features.augment.shift("a", earlier=-1, later=0), "at least 0"),
        (lambda: features.augment.speed("a", low=0.0, high=1.0), "0 < low"),
        (lambda: features.augment.volume("a", low=1.0, high=0.0), "at most high"),
        (lambda: features.augment.white_noise("a", low=1.0, high=0.0), "at most high"),
        (lambda: features.augment.chain(3), "takes functions"),
        (lambda: features.waveform("a", sample_rate=8000, samples=0), "samples must be at least 1"),
    ],
)
def test_wrong_parameters_are_refused(make, text):
    with pytest.raises(ArgumentError, match=text):
        make()


def test_what_was_cached_is_not_sent():
    encoder = features.vocabulary("a", values=[str(n) for n in range(1000)])
    fitted = features.Features((encoder,))
    before = len(cloudpickle.dumps(fitted))
    fitted.encode(pa.record_batch({"a": ["1"]}))
    assert len(cloudpickle.dumps(fitted)) == before
    assert "(1000 in all)" in repr(fitted) and len(repr(fitted)) < 300


def test_encoding_needs_no_spark(tmp_path):
    path = str(tmp_path / "features.json")
    features.Features(tuple(MADE[3:5])[1:]).save(path)
    code = f"""
import sys
sys.modules["pyspark"] = None
import pyarrow as pa, fdl_spark
print(fdl_spark.features.load({path!r}).encode(pa.record_batch({{"a": ["x", "y"]}})))
try:
    fdl_spark.train
except ImportError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert str(features.load(path).encode(pa.record_batch({"a": ["x", "y"]}))) in said
    assert "fdl_spark.train needs PySpark" in said
    assert fdl_spark.train is not None
