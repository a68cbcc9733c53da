"""`examples.imagenet` on small images, its recipe against formulas, sequence files against those that Hadoop writes."""

import io
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import fdl
from examples.imagenet import stand_in
from examples.imagenet.convert import convert
from examples.imagenet.program import classify, plot, table
from examples.imagenet.recipe import RECIPES, Recipe
from examples.imagenet.scaling import BIGDL, simulated
from examples.imagenet.sequence_files import SequenceFileError, labelled_images, records
from examples.imagenet.task import AUGMENTATIONS, Network, encoders, middle
from fdl import nn

Image = pytest.importorskip("PIL.Image")
SMALL = Recipe(
    "inception_v1", 3, 20, 16, batch=12, microbatch=4, rate=0.05, warmup=2, steps=8, validate=4, width=0.05,
    std=(0.25, 0.25, 0.25),
)  # fmt: skip


def stripes(seed: int = 0) -> dict[str, np.ndarray]:
    """Photographs of one colour each, with noise, that are told apart on their left and right sides alike."""
    rng = np.random.default_rng(seed)
    colours = {"b": (220, 30, 30), "a": (30, 220, 30), "c": (30, 30, 220)}
    return {
        name: np.clip(np.array(colour) + rng.normal(0, 8, (60, 90, 3)), 0, 255).astype(np.uint8)
        for name, colour in colours.items()
    }


def test_the_rate_rises_and_falls_as_in_bigdl() -> None:
    recipe = replace(SMALL, rate=0.5, start=0.1, warmup=4, steps=20)
    rates = [float(recipe.schedule()(step)) for step in range(20)]
    np.testing.assert_allclose(rates[:4], 0.1 + 0.4 * np.arange(4) / 4, rtol=1e-6)
    np.testing.assert_allclose(rates[4:], 0.5 * np.sqrt(1 - np.arange(16) / 16), rtol=1e-6)
    assert float(replace(recipe, warmup=0).schedule()(0)) == np.float32(0.5)
    assert replace(recipe, steps=20).of_steps(100).warmup == 20
    bigdl = RECIPES["bigdl"]
    assert (bigdl.batch, bigdl.rate, bigdl.decay, bigdl.steps) == (1792, 0.0898, 1e-4, 62_000)


def test_the_optimizer_is_torchs_sgd_by_its_formula() -> None:
    recipe = replace(SMALL, rate=0.5, warmup=0, steps=10, decay=0.01)
    optimizer, x, moved = recipe.optimizer(), np.float32(2), np.float64(0)
    state, expected = optimizer.init(x), np.float64(2)
    for step in range(4):
        updates, state = optimizer.update(np.float32(0.3), state, x)
        x = x + updates
        moved = 0.9 * moved + 0.3 + 0.01 * expected
        expected -= 0.5 * np.sqrt(1 - step / 10) * moved
        assert float(x) == pytest.approx(expected, rel=1e-5)


def test_validation_images_are_of_what_no_training_image_has_seen(tmp_path: Path) -> None:
    photograph = {"one": np.zeros((60, 90, 3), np.uint8)}
    photograph["one"][:, 60:] = 255
    stand_in.write(photograph, tmp_path, train=20, val=20)
    for part, colour in (("train", 0), ("val", 255)):
        rows = pq.read_table(tmp_path / part)
        assert rows.num_rows == 20
        for content in rows["image"].to_pylist():
            pixels = np.asarray(Image.open(io.BytesIO(content)))
            assert (np.abs(pixels.astype(int) - colour) < 3).all() and pixels.shape[0] == pixels.shape[1]
    assert (tmp_path / "classes.txt").read_text() == "one\n"


def test_bigdls_images_are_centred_bytes() -> None:
    """As BigDL's RandomCropper and ChannelNormalize(123, 117, 104): pixels of the image less three numbers."""
    recipe = replace(SMALL, stored=6, size=4, std=RECIPES["bigdl"].std)
    image = np.random.default_rng(1).integers(0, 256, (6, 6, 3), np.uint8)
    places = {
        (image[top : top + 4, left : left + 4][:, ::turn] - np.array([123.0, 117, 104])).round(3).tobytes()
        for top in range(3)
        for left in range(3)
        for turn in (1, -1)
    }
    change, seen = AUGMENTATIONS["crop"](recipe), set()
    for key in fdl.random.split(fdl.random.key(0), 60):
        made = np.asarray(change(key, {"images": image, "labels": 1})["images"], np.float64)
        seen.add((made.round(3) + 0.0).tobytes())
    assert seen <= {(np.frombuffer(one) + 0.0).tobytes() for one in places} and len(seen) > 12
    network = Network(recipe)
    seen_by = []
    network.module = type("Seeing", (), {"apply": staticmethod(lambda p, s, x, **_: (seen_by.append(x), s))})
    network.scores((None, None), {"images": image[None]})
    np.testing.assert_allclose(seen_by[0][0], image[1:5, 1:5] - np.array([123.0, 117, 104]), atol=1e-3)


def test_images_of_any_shape_are_stretched() -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((30, 50, 3), (200, 100, 50), np.uint8)).save(file, "PNG")
    made = encoders(SMALL).encode({"image": [file.getvalue()], "label": [2]})
    assert made["images"].shape == (1, 20, 20, 3) and made["labels"].tolist() == [2]
    assert (made["images"] == (200, 100, 50)).all()


def test_models_that_do_not_classify_images_are_refused() -> None:
    with pytest.raises(ValueError, match="there is no model 'alexnet'"):
        Network(replace(SMALL, model="alexnet"))
    with pytest.raises(ValueError, match="neumf is no classifier"):
        Network(replace(SMALL, model="neumf"))


@pytest.mark.parametrize("model", ["googlenet", "resnet18", "mobilenet_v2"])
def test_other_models_have_a_loss_of_the_same_kind(model: str) -> None:
    network = Network(replace(SMALL, model=model))
    made = fdl.eval_shape(network.init, fdl.random.key(0))
    batch = {
        "images": fdl.ShapeDtypeStruct((4, 20, 20, 3), np.uint8), "labels": fdl.ShapeDtypeStruct((4,), np.int32),
    }  # fmt: skip
    key = fdl.random.key(1)
    loss, means, state = fdl.eval_shape(lambda made, batch: network.loss(*made, batch, key, True), made, batch)
    assert loss.shape == () and set(means) == {"accuracy"}
    assert fdl.tree.structure(state) == fdl.tree.structure(made[1])
    assert fdl.eval_shape(network.scores, made, batch).shape == (4, 3)


def test_the_simulation_scales_as_a_cluster_can() -> None:
    rates = [simulated(nodes, 57.5) for nodes in (1, *BIGDL)]
    assert rates == sorted(rates) and all(rate <= nodes * 57.5 for rate, nodes in zip(rates, (1, *BIGDL), strict=True))


class Mean(Network):
    """Classes by the mean colour of an image: compiled in a moment."""

    def init(self, key):
        return {"w": np.zeros((3, 3), np.float32)}, {}

    def loss(self, params, state, batch, key, training):
        logits = self.scores((params, state), batch)
        return nn.softmax_cross_entropy_with_integer_labels(logits, batch["labels"], reduction="mean"), {}, state

    def scores(self, both, batch):
        return middle(batch["images"], self.recipe).mean(axis=(1, 2)) @ both[0]["w"]


def test_it_learns_from_folders_of_images(spark, tmp_path: Path) -> None:
    """From JPEGs in folders to a trained model: every batch in pieces, and a validation that knows colours."""
    for part, seed in (("train", 0), ("val", 1)):
        rng = np.random.default_rng(seed)
        for name, photograph in stripes(seed).items():
            folder = tmp_path / "images" / part / f"n0{name}"
            folder.mkdir(parents=True)
            for number in range(8):
                pixels = stand_in.cut(rng, photograph)
                (folder / f"n0{name}_{number}.JPEG").write_bytes(stand_in.jpeg(pixels))
    data = str(tmp_path / "parquet")
    assert convert(spark, str(tmp_path / "images"), data) == ["n0a", "n0b", "n0c"]
    assert [row.value for row in spark.read.text(f"{data}/classes").collect()] == ["n0a", "n0b", "n0c"]
    result = classify(spark, data, SMALL, network=Mean(SMALL), partitions=1, shards=2)
    assert result.images == 24 and result.run.history.steps[0]["rows"] == 12
    (_, first), (step, last) = result.run.history.validations()
    assert step == 7 and last["loss"] < first["loss"] and last["top-5"] == 1
    assert "chance" in table(result) and "33.33%" in table(result)
    plot(result, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


@pytest.mark.parametrize("kind", ["NONE", "RECORD", "BLOCK"])
def test_records_are_those_that_hadoop_has_written(spark, tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(3)
    rows = [(f"n{n}.JPEG\n{n + 1}", bytearray(rng.bytes(length))) for n, length in enumerate((0, 3, 127, 128, 70_000))]
    output = "mapreduce.output.fileoutputformat.compress"
    spark.sparkContext.parallelize(rows, 1).saveAsHadoopFile(
        str(tmp_path / "written"),
        "org.apache.hadoop.mapred.SequenceFileOutputFormat",
        "org.apache.hadoop.io.Text",
        "org.apache.hadoop.io.BytesWritable",
        conf={output: str(kind != "NONE").lower(), f"{output}.type": kind},
    )
    (path,) = (tmp_path / "written").glob("part-*")
    with path.open("rb") as file:
        if kind == "BLOCK":
            with pytest.raises(SequenceFileError, match="written is compressed in blocks"):
                list(records(file, "written"))
        else:
            assert list(records(file, "written")) == [(key.encode(), bytes(value)) for key, value in rows]


def sequence_file(rows: list[tuple[bytes, bytes]]) -> bytes:
    """A file of texts as BigDL writes them, by the description of the format."""

    def number(value: int) -> bytes:
        if value < 128:
            return bytes([value])
        count = (value.bit_length() + 7) // 8
        return bytes([256 - 112 - count]) + value.to_bytes(count, "big")

    def text(content: bytes) -> bytes:
        return number(len(content)) + content

    sync = bytes(range(16))
    head = b"SEQ\x06" + 2 * text(b"org.apache.hadoop.io.Text") + b"\0\0" + struct.pack(">i", 0) + sync
    for key, value in rows:
        lengths = struct.pack(">ii", len(text(key)) + len(text(value)), len(text(key)))
        head += struct.pack(">i", -1) + sync + lengths + text(key) + text(value)
    return head


def test_bigdls_sequence_files_become_parquet(spark, tmp_path: Path) -> None:
    red = np.zeros((5, 7, 3), np.uint8)
    red[..., 2] = 255  # blue first
    value = struct.pack(">ii", 7, 5) + red.tobytes()
    encoded = stand_in.jpeg(np.full((9, 9, 3), 128, np.uint8))
    for part in ("train", "val"):
        folder = tmp_path / "images" / part
        folder.mkdir(parents=True)
        (folder / "imagenet-seq-0_0.seq").write_bytes(sequence_file([(b"1", value), (b"n.JPEG\n3", encoded)]))
    data = str(tmp_path / "parquet")
    assert convert(spark, str(tmp_path / "images"), data) == []
    first, second = sorted(spark.read.parquet(f"{data}/train").collect(), key=lambda row: row.label)
    assert (first.label, second.label, bytes(second.image)) == (0, 2, encoded)
    pixels = np.asarray(Image.open(io.BytesIO(first.image)))
    assert pixels.shape == (5, 7, 3) and np.abs(pixels.astype(int) - (255, 0, 0)).max() < 5


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"SEQ\x04", "no sequence file of version 6"),
        (sequence_file([(b"1", b"x")])[:-1], "ends within a record"),
        (sequence_file([(b"1", b"x")]), "neither a JPEG or PNG nor pixels"),
        (sequence_file([(b"cat", b"")]), "no class from 1 on"),
        (sequence_file([]).replace(b"\0\0" + bytes(4), b"\1\1" + bytes(4)), "compressed in blocks"),
        (sequence_file([]).replace(b"io.Text", b"io.Long"), "must be Text or BytesWritable"),
    ],
)
def test_what_is_no_sequence_file_of_images_is_named(content: bytes, text: str) -> None:
    with pytest.raises(SequenceFileError, match=text):
        list(labelled_images(io.BytesIO(content), "a.seq", stand_in.jpeg))
