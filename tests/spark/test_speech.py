"""`examples.speech` on tones in place of words, and its parts against plain NumPy."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import fdl
import fdl_spark
from examples.data.speech import RATE
from examples.speech import listen, show, sink, survive
from examples.speech.program import learn
from examples.speech.recordings import tabled, trimmed, wav
from examples.speech.task import CONFIG, ENCODERS, SAMPLES, SOUND, classify, spectrogram
from examples.speech.templates import nearness, templates, warped
from examples.speech.voices import Spoken
from examples.speech.words import DIGITS, OTHERS
from fdl.models import ds_cnn
from fdl_spark import features

KINDS = 4  # of sounds
SMALL = replace(CONFIG, width=16, depth=1)  # compiles in less time


def words(rows: int, seed: int, speaker: str = "a") -> pa.Table:
    """Four kinds of sound: a rising tone, a falling one, a trill, and noise in bursts."""
    rng = np.random.default_rng(seed)
    spoken = []
    for row in range(rows):
        label = row % KINDS
        time = np.arange(rng.integers(3000, 4000)) / RATE
        part = time / time[-1]
        rising = np.sin(2 * np.pi * (400 * time + 1400 * part * time))
        trill = np.sin(2 * np.pi * 900 * time + 25 * np.sin(2 * np.pi * 12 * time))
        bursts = rng.normal(size=len(time)) * (np.sin(2 * np.pi * 10 * time) > 0)
        sound = [rising, rising[::-1], trill, 0.3 * bursts][label]
        spoken.append(
            Spoken(speaker, "en", label, (0.3 * sound + 0.01 * rng.normal(size=len(time))).astype(np.float32))
        )
    return tabled(spoken)


def test_a_word_is_cut_out_and_kept_as_a_file() -> None:
    sound = np.zeros(1000, np.float32)
    sound[300:700] = np.linspace(-0.9, 0.9, 400)
    assert len(trimmed(sound)) == 400
    kept = SOUND.encode({"sound": pa.array([wav(sound)])})["sound"]
    assert kept.shape == (1, SAMPLES)
    np.testing.assert_allclose(kept[0, :1000], sound, atol=1 / 65536)
    assert len(trimmed(np.zeros(5, np.float32))) == 1


def test_a_spectrogram_does_not_depend_on_the_volume() -> None:
    sound = ENCODERS.encode(words(3, 0))["sound"]
    found = np.asarray(spectrogram(sound))
    assert found.shape == (3, CONFIG.frames, CONFIG.features)
    assert (found.max(axis=(1, 2)) > 1).all() and (found.min(axis=(1, 2)) < -1).all()
    np.testing.assert_allclose(np.asarray(spectrogram(sound * 0.05)), found, atol=2e-2)
    assert np.isfinite(np.asarray(spectrogram(np.zeros((1, SAMPLES), np.float32)))).all()


def test_warping_is_the_least_path() -> None:
    costs = np.random.default_rng(0).uniform(size=(5, 7, 9)).astype(np.float32)
    for cost in costs:
        sums = np.full((8, 10), np.inf)
        sums[0, 0] = 0
        for i in range(7):
            for j in range(9):
                sums[i + 1, j + 1] = cost[i, j] + min(sums[i, j], sums[i, j + 1], sums[i + 1, j])
        assert float(warped(fdl.numpy.asarray(cost))) == pytest.approx(sums[7, 9], rel=1e-5)


def test_a_word_is_nearest_to_itself_and_to_a_slower_one() -> None:
    known = templates(words(2 * KINDS, 1), 1, 0)
    assert sorted(known["label"].tolist()) == list(range(KINDS))
    found = np.asarray(nearness(known, ENCODERS.encode(words(KINDS, 2))))
    assert (found.argmax(axis=1) == np.arange(KINDS)).all()
    assert (found[:, KINDS:] == -np.inf).all()
    own = np.asarray(nearness(known, known))
    np.testing.assert_allclose(own[np.arange(len(own)), known["label"]], 0, atol=0.1)


def test_it_learns_tones_and_shows_what_it_found(spark, tmp_path: Path) -> None:
    held_out = {"tones": words(32, 3, "b"), "others": words(16, 7, "c")}
    result = learn(
        words(256, 4), held_out, epochs=6, folds="tones", epochs_humans=2, batch=16, each=1,
        network=SMALL, partitions=1, shards=1,
    )  # fmt: skip
    assert result.tested == {"tones": (32, 1), "others": (16, 1)} and result.trained == 256
    assert list(result.people) == ["b"] and result.people["b"].rows == 32
    assert show.of_people(result, "voices") == result.found["tones"]["accuracy"]  # the same recordings
    assert show.of_people(result, "nearest") == result.baseline["tones"]
    assert "left out" in show.people(result) and " 32 " in show.people(result)
    assert result.people["b"].humans > 0.5
    assert result.found["tones"]["accuracy"] > 0.5
    assert result.baseline["tones"] > 0.9
    assert show.matrix(result.found["tones"]["confusion"]).sum(axis=1).tolist() == [8] * KINDS + [0] * 7
    text = show.table(result)
    assert "tones" in text and f"{result.found['tones']['accuracy']:.3f}" in text
    late = np.geomspace(0.5, 5, 33)
    found = survive.Survival(33, 33, 0, 0, 0, 0, 2, ["executor", "driver"], late, late[:20])
    show.plot(result, found, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    assert "once: 33, more often: 0, missing: 0" in show.survived(found)


def test_a_stream_is_heard_once_and_a_bad_record_does_not_end_it(spark, tmp_path: Path) -> None:
    model = ds_cnn.init(fdl.random.key(0), SMALL)
    table = words(11, 5)
    contents = [*table["sound"].to_pylist(), b"no sound"]
    (tmp_path / "in").mkdir()
    for name, numbers in (("a", range(7)), ("b", range(7, 12))):
        rows = pa.table(
            {
                "key": [str(n).encode() for n in numbers],
                "value": [contents[n] for n in numbers],
                "timestamp": pa.array([0 for _ in numbers], pa.timestamp("us", "UTC")),
                "partition": pa.array([0 for _ in numbers], pa.int32()),
                "offset": pa.array(list(numbers), pa.int64()),
            }
        )
        pq.write_table(rows, tmp_path / "in" / f"{name}.parquet")
    schema = "key binary, value binary, timestamp timestamp, partition int, offset bigint"
    records = spark.readStream.schema(schema).option("maxFilesPerTrigger", 1).parquet(str(tmp_path / "in"))
    writer = listen.words(records, model).writeStream.format("parquet").trigger(availableNow=True)
    out = tmp_path / "out"
    writer.option("checkpointLocation", str(out / "_checkpoint")).start(str(out)).awaitTermination()
    found = sink.rows(out)
    assert len(sink.commits(out)) == 2 and sink.count(out, {}) == 12
    by_id = dict(zip(found["id"].to_pylist(), found["word"].to_pylist(), strict=True))
    assert by_id.pop("11") is None
    sounds = features.Features((SOUND,)).encode(table)["sound"]
    expected = np.asarray(classify(model, {"sound": sounds})["word"])
    assert [by_id[str(n)] for n in range(11)] == expected.tolist()
    assert (found["late"].to_numpy() > 1e9).all()  # of records of 1970


def test_the_log_of_the_sink_says_which_files_count(tmp_path: Path) -> None:
    def log(name: str, files: list[str]) -> None:
        lines = [json.dumps({"path": f"file://{tmp_path}/{file}", "action": "add"}) for file in files]
        (tmp_path / "_spark_metadata" / name).write_text("\n".join(["v1", *lines]))

    (tmp_path / "_spark_metadata").mkdir()
    log("9.compact", ["a%20b", "c"])
    log("10", ["d"])
    (tmp_path / "_spark_metadata" / ".11.tmp").write_text("v1")
    assert [[path.name for path in files] for _, files in sink.commits(tmp_path)] == [["a b", "c"], ["d"]]
    assert sink.commits(tmp_path / "nothing") == []


def test_what_is_lost_or_doubled_is_counted() -> None:
    model = ds_cnn.init(fdl.random.key(0), SMALL)
    sounds = words(2, 6)["sound"].to_pylist()
    encoded = features.Features((SOUND,)).encode({"sound": pa.array(sounds)})["sound"]
    word = np.asarray(classify(model, {"sound": encoded})["word"]).tolist()
    ids = [0, 1, 2, 2, 4]  # of six
    rows = pa.table(
        {
            "id": [str(n) for n in ids],
            "word": [word[0], word[1], word[0], word[0], 1 - (word[0] == 1)],
            "probability": [0.5, 0.5, 0.5, 0.25, 0.5],
            "timestamp": pa.array([n * 1_000_000 for n in ids], pa.timestamp("us", "UTC")),
            "late": [1.0, 1.5, 3.5, 3.5, 1.5],
        }
    )
    found = survive._judged(rows, sounds, model, 6, 2, ["driver"], [2.9])
    assert (found.once, found.twice, found.missing, found.other, found.unlike) == (3, 1, 2, 1, 1)
    assert sorted(found.steady) == [1.5]  # the others came first, waited for the driver, or while it caught up


def test_a_driver_that_ends_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = survive.Driver(["--help"], tmp_path / "log")
    monkeypatch.setattr(survive, "sys", SimpleNamespace(executable="true"))
    driver.keep()
    assert driver.process is not None and driver.process.wait() == 0
    driver.keep()
    assert driver.starts == 2
    driver.end()


def test_all_words_are_there() -> None:
    assert set(DIGITS) == set(OTHERS) and all(len(names) == 10 for names in DIGITS.values())
    assert all(not set(DIGITS[language]) & set(OTHERS[language]) for language in DIGITS)


def test_voices_need_a_package_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from examples.speech.voices import Synthesizer

    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ImportError, match=r"fdl\[speech\]"):
        Synthesizer()
    assert fdl_spark.__name__  # the rest needs no synthesizer
