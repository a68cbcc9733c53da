"""Augmentations: what they change, what they leave, and the same bits for a row whatever the batch."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import random
from fdl_spark import ArgumentError, MissingColumnError
from fdl_spark.features import augment

ROWS = 11


def keys(rows=ROWS):
    return random.split(random.key(7), rows)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((ROWS, 9, 8, 3), np.float32)


def applied(augmentation, **columns):
    """The augmentation of each row, compiled for all rows at once."""
    found = fdl.jit(fdl.vmap(augmentation))(keys(len(next(iter(columns.values())))), columns)
    return {name: np.asarray(array) for name, array in found.items()}


def test_flips_are_images_or_mirror_images(images):
    for axis, mirrored in (("horizontal", images[:, :, ::-1]), ("vertical", images[:, ::-1])):
        found = applied(augment.flip("x", axis=axis), x=images, y=np.arange(ROWS))
        same = [(a == b).all() for a, b in zip(found["x"], images, strict=True)]
        other = [(a == b).all() for a, b in zip(found["x"], mirrored, strict=True)]
        assert all(a != b for a, b in zip(same, other, strict=True)) and 0 < sum(same) < ROWS
        np.testing.assert_array_equal(found["y"], np.arange(ROWS))
    np.testing.assert_array_equal(applied(augment.flip("x", probability=0), x=images)["x"], images)


def test_crops_are_parts_of_the_padded_image(images):
    found = applied(augment.crop("x", height=7, width=8, padding=2, value=5), x=images)["x"]
    wide = np.pad(images, [(0, 0), (2, 2), (2, 2), (0, 0)], constant_values=5)
    places = set()
    for row, part in enumerate(found):
        (place,) = [
            (top, left)
            for top in range(7)
            for left in range(5)
            if (wide[row, top : top + 7, left : left + 8] == part).all()
        ]
        places.add(place)
    assert len(places) > 5
    whole = np.arange(64, dtype=np.uint8).reshape(1, 8, 8, 1)
    np.testing.assert_array_equal(applied(augment.crop("x", height=8, width=8), x=whole)["x"], whole)


def test_resized_crops_are_pillows_of_rectangles_of_the_right_area_and_shape():
    """An image of its own coordinates tells which rectangle it was; Pillow scales another image in the same way."""
    Image = pytest.importorskip("PIL.Image")
    high, wide, rows = 60, 90, 40
    down, across = np.mgrid[:high, :wide].astype(np.float32) + 0.5
    photo = np.random.default_rng(4).random((6, 9), np.float32)
    photo = np.asarray(Image.fromarray(photo).resize((wide, high), Image.Resampling.BICUBIC))
    both = np.broadcast_to(np.stack([down, across, photo], axis=-1), (rows, high, wide, 3))
    made = applied(augment.resized_crop("x", height=20, width=24, scale=(0.1, 0.6), ratio=(0.5, 2)), x=both)["x"]
    assert made.shape == (rows, 20, 24, 3)
    areas, shapes, places = [], [], []
    for result in made.astype(np.float64):
        lines = [
            np.polyfit(np.arange(4, 16) + 0.5, result[4:16, 12, 0], 1)
        ]  # pixels of the image by those of the result
        lines.append(np.polyfit(np.arange(4, 20) + 0.5, result[10, 4:20, 1], 1))
        size, start = np.array([lines[0][0] * 20, lines[1][0] * 24]), np.array([line[1] for line in lines])
        areas.append(size.prod() / (high * wide))
        shapes.append(size[1] / size[0])
        places.append(start)
        assert (start > -0.1).all() and (start + size < (high + 0.1, wide + 0.1)).all()
        box = (*start[::-1], *(start + size)[::-1])
        box = tuple(np.clip(box, 0, [wide, high] * 2))
        expected = Image.fromarray(photo).resize((24, 20), Image.Resampling.BILINEAR, box)
        # Pillow's kernel ends at the rectangle, ours at the image: pixels inside are equal.
        inside = result[4:-4, 4:-4, 2], np.asarray(expected)[4:-4, 4:-4]
        np.testing.assert_allclose(*inside, atol=5e-3)
    assert 0.099 < min(areas) < 0.2 < 0.5 < max(areas) < 0.605
    assert 0.495 < min(shapes) < 0.7 < 1.4 < max(shapes) < 2.02
    assert (np.ptp(places, axis=0) > 20).all()


def test_resized_crops_of_bytes_are_bytes_and_the_middle_where_none_fits():
    column = np.arange(90, dtype=np.uint8)[None, :, None, None] * np.ones((2, 1, 1, 3), np.uint8)
    made = applied(augment.resized_crop("x", height=2, width=2, scale=(1, 1), ratio=(1, 1)), x=column)["x"]
    assert made.dtype == np.uint8
    np.testing.assert_array_less(np.abs(made.astype(int) - 44), 2)  # of a column of pixels the one in the middle


def test_images_are_normalised_as_by_the_encoder(images):
    mean, std = (0.1, 0.2, 0.3), (0.5, 1.0, 2.0)
    change = augment.normalise("x", mean=mean, std=std)
    expected = (images - np.float64(mean)) / np.float64(std)
    np.testing.assert_allclose(applied(change, x=images)["x"], expected, rtol=1e-5, atol=1e-6)
    pixels = np.random.default_rng(2).integers(0, 256, (ROWS, 4, 5, 3), np.uint8)
    expected = (pixels / 255 - np.float64(mean)) / np.float64(std)
    found = applied(change, x=pixels)["x"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_colour_jitter_as_its_formula(images):
    grey = images @ np.array([0.299, 0.587, 0.114])
    bright = applied(augment.colour_jitter("x", brightness=0.3, high=9), x=images)["x"] / images
    assert (np.ptp(bright, axis=(1, 2, 3)) < 1e-5).all() and np.ptp(bright[:, 0, 0, 0]) > 0.1
    assert bright.min() >= 0.7 - 1e-6 and bright.max() <= 1.3 + 1e-6
    for name, middle in (("contrast", grey.mean(axis=(1, 2))[:, None, None, None]), ("saturation", grey[..., None])):
        found = applied(augment.colour_jitter("x", low=-9, high=9, **{name: 0.5}), x=images)["x"]
        factor = np.median((found - middle) / (images - middle), axis=(1, 2, 3), keepdims=True)
        np.testing.assert_allclose(found, middle + factor * (images - middle), atol=1e-5)
        assert factor.min() >= 0.5 - 1e-3 and factor.max() <= 1.5 + 1e-3 and np.ptp(factor) > 0.2
    clipped = applied(augment.colour_jitter("x", brightness=5), x=images)["x"]
    assert clipped.max() == 1 and clipped.min() >= 0
    np.testing.assert_array_equal(applied(augment.colour_jitter("x"), x=images)["x"], images)


def test_cutout_hides_a_rectangle():
    found = applied(augment.cutout("x", height=3, width=4, value=-1), x=np.ones((ROWS, 9, 8, 2), np.float32))["x"]
    for image in found:
        rows, columns = np.nonzero(image[..., 0] == -1)
        assert ((image == -1) == (image[..., :1] == -1)).all()
        assert 1 <= np.ptp(rows) + 1 <= 3 and 1 <= np.ptp(columns) + 1 <= 4
        assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)


def test_noise_is_normal():
    found = applied(augment.noise("x", scale=0.5), x=np.ones((20, 500), np.float32))["x"] - 1
    assert abs(found.mean()) < 0.02 and abs(found.std() - 0.5) < 0.02
    assert abs(np.corrcoef(found[0], found[1])[0, 1]) < 0.2


def test_negatives_are_uniform_over_unseen_items():
    rows, items, count = 200, 9, 50
    seen = np.tile(np.array([4, 0, 4, 8], np.int32), (rows, 1))  # one of them twice, the last one is padding
    mask = np.tile([True, True, True, False], (rows, 1))
    batch = {"user": np.arange(rows), "item": np.full(rows, 7), "seen": seen, "seen_mask": mask}
    found = applied(augment.negatives(items, user="user", item="item", count=count, seen="seen"), **batch)
    np.testing.assert_array_equal(found["item"][:, 0], 7)
    np.testing.assert_array_equal(found["user"], np.repeat(np.arange(rows)[:, None], count + 1, axis=1))
    np.testing.assert_array_equal(found["label"], np.eye(1, count + 1)[[0] * rows])
    drawn = np.bincount(found["item"][:, 1:].ravel(), minlength=items)
    assert (drawn[[0, 4, 7]] == 0).all()
    unseen = drawn[[1, 2, 3, 5, 6, 8]] / (rows * count)
    np.testing.assert_allclose(unseen, 1 / 6, atol=4 * (1 / 6 * 5 / 6 / (rows * count)) ** 0.5)


def test_shifted_sounds_are_parts_of_padded_ones():
    sounds = np.random.default_rng(0).normal(size=(ROWS, 50)).astype(np.float32)
    found = applied(augment.shift("x", earlier=2, later=3), x=sounds)["x"]
    starts = set()
    for row, sound in zip(found, sounds, strict=True):
        wide = np.pad(sound, (3, 2))
        (start,) = [start for start in range(6) if np.array_equal(wide[start : start + 50], row)]
        starts.add(start)
    assert len(starts) > 2


def test_a_faster_tone_is_higher_and_shorter():
    tone = np.sin(2 * np.pi * 0.02 * np.arange(1000)).astype(np.float32)
    found = applied(augment.speed("x", low=0.5, high=2.0), x=np.tile(tone, (ROWS, 1)))["x"]
    lengths = np.array([np.flatnonzero(row)[-1] for row in found])
    for row, length in zip(found, lengths, strict=True):
        crossings = np.flatnonzero(np.diff(np.signbit(row[: min(length, 998)])))
        period = 2 * np.diff(crossings).mean()
        if length < 999:  # it ends within the array, at 1000 / factor
            assert period == pytest.approx(50 * length / 1000, rel=0.02)
        else:
            assert 48 < period < 102
    assert len(set(lengths.tolist())) > 2
    same = applied(augment.speed("x", low=1.0, high=1.0), x=tone[None].repeat(ROWS, 0))["x"]
    np.testing.assert_array_equal(same, np.tile(tone, (ROWS, 1)))


def test_decibels_are_those_of_the_power():
    sounds = np.random.default_rng(1).normal(size=(ROWS, 20_000)).astype(np.float32)
    louder = applied(augment.volume("x", low=-10.0, high=10.0), x=sounds)["x"]
    gains = 20 * np.log10((louder / sounds).mean(axis=1))
    assert (np.abs(gains) <= 10.001).all() and np.ptp(gains) > 1
    np.testing.assert_allclose(louder, sounds * 10 ** (gains[:, None] / 20), rtol=1e-4)
    noise = applied(augment.white_noise("x", low=3.0, high=9.0), x=sounds)["x"] - sounds
    ratios = 10 * np.log10((sounds**2).mean(axis=1) / (noise**2).mean(axis=1))
    assert ((ratios > 2.8) & (ratios < 9.2)).all() and np.ptp(ratios) > 0.5


def test_who_has_seen_all_is_given_one_at_random():
    batch = {"user": np.arange(3), "item": np.zeros(3, np.int32), "seen": np.tile(np.int32([1, 2]), (3, 1))}
    batch["seen_mask"] = np.ones((3, 2), bool)
    found = applied(augment.negatives(3, user="user", item="item", count=40, seen="seen"), **batch)
    assert set(found["item"][:, 1:].ravel()) == {0, 1, 2}


def test_a_row_has_the_same_bits_in_any_batch(images):
    change = augment.chain(
        augment.flip("x"),
        augment.crop("x", height=9, width=8, padding=3),
        augment.resized_crop("x", height=9, width=8),
        augment.normalise("x", mean=(0.1, 0.2, 0.3), std=(0.9, 1.1, 1.2)),
        augment.colour_jitter("x", brightness=0.4, contrast=0.4, saturation=0.4),
        augment.cutout("x", height=3, width=3),
        augment.noise("x", scale=0.1),
        augment.negatives(50, user="u", item="i", count=3),
        augment.shift("s", earlier=20, later=30),
        augment.speed("s", low=0.8, high=1.2),
        augment.volume("s", low=-6.0, high=6.0),
        augment.white_noise("s", low=5.0, high=30.0),
    )
    sounds = np.random.default_rng(0).normal(size=(ROWS, 100)).astype(np.float32)
    columns = {"x": images, "s": sounds, "u": np.arange(ROWS), "i": np.arange(ROWS, dtype=np.int32)}
    jitted = fdl.jit(fdl.vmap(change))
    whole = jitted(keys(), columns)
    part = jitted(keys()[2:4], {name: column[2:4] for name, column in columns.items()})
    for name, array in whole.items():
        assert np.asarray(array)[2:4].tobytes() == np.asarray(part[name]).tobytes(), name


def test_links_of_a_chain_have_keys_of_their_own():
    found = augment.chain(augment.noise("x", scale=1), augment.noise("y", scale=1))(
        random.key(0), {"x": fnp.zeros(4), "y": fnp.zeros(4)}
    )
    assert (found["x"] != found["y"]).all()


def test_mistakes_are_told_by_name(images):
    row = {"x": fnp.asarray(images[0]), "i": fnp.array(1.5), "u": fnp.array(1)}
    with pytest.raises(MissingColumnError, match="augment.flip asked for column 'z'"):
        augment.flip("z")(random.key(0), row)
    with pytest.raises(ArgumentError, match="no part of 20 x 8 is in an image of 9 x 8"):
        augment.crop("x", height=20, width=8)(random.key(0), row)
    with pytest.raises(ArgumentError, match="'x' has 3 channels, mean and std 1"):
        augment.normalise("x", mean=[0.5], std=[1.0])(None, row)
    with pytest.raises(ArgumentError, match="scale must be two areas up to 1"):
        augment.resized_crop("x", height=2, width=2, scale=(0.5, 1.5))
    with pytest.raises(ArgumentError, match="must be an image"):
        augment.cutout("u", height=1, width=1)(random.key(0), row)
    with pytest.raises(ArgumentError, match="must be floating-point numbers, not int32"):
        augment.noise("u", scale=1)(random.key(0), row)
    with pytest.raises(ArgumentError, match=r"'x' must be a sound \[samples\]"):
        augment.speed("x", low=0.9, high=1.1)(random.key(0), row)
    with pytest.raises(ArgumentError, match="'i' must be a whole number in each row"):
        augment.negatives(5, user="u", item="i", count=1)(random.key(0), row)
