"""Images are what Pillow and NumPy make of them by hand."""

import builtins
import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from fdl_spark import ArgumentError, features
from fdl_spark.data.columns import BadColumn


def coded(pixels, format="PNG", mode=None):
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8), mode).save(file, format)
    return file.getvalue()


@pytest.fixture(scope="module")
def photo():
    return np.random.default_rng(3).integers(0, 256, (13, 20, 3), np.uint8)


def test_an_image_of_the_right_size_keeps_its_pixels(photo):
    encoder = features.image("x", height=13, width=20, dtype="uint8")
    np.testing.assert_array_equal(encoder.encode({"x": pa.array([coded(photo)])})["x"], [photo])
    scaled = features.image("x", height=13, width=20).encode({"x": pa.array([coded(photo)])})["x"]
    np.testing.assert_array_equal(scaled, (photo[None] / 255).astype(np.float32))
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    normal = features.image("x", height=13, width=20, mean=mean, std=std).encode({"x": pa.array([coded(photo)])})["x"]
    np.testing.assert_allclose(normal[0], (photo / 255 - mean) / std, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_crop_and_stretch(photo, format):
    content = coded(photo, format)
    decoded = Image.open(io.BytesIO(content)).convert("RGB")
    stretched = features.image("x", height=6, width=5, fit="stretch", filter="bicubic", dtype="uint8")
    expected = np.asarray(decoded.resize((5, 6), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(stretched.encode({"x": pa.array([content])})["x"][0], expected)
    # 13 x 20 covers 13 x 13 with its middle 13 columns; an even margin needs no interpolation.
    cropped = features.image("x", height=13, width=14, dtype="uint8").encode({"x": pa.array([content])})["x"][0]
    np.testing.assert_array_equal(cropped, np.asarray(decoded)[:, 3:17])


def test_grey_and_other_modes(photo):
    grey = features.image("x", height=13, width=20, mode="grey", dtype="uint8").encode({"x": pa.array([coded(photo)])})[
        "x"
    ]
    luma = photo @ [0.299, 0.587, 0.114]
    assert grey.shape == (1, 13, 20, 1) and np.abs(grey[0, ..., 0] - luma).max() <= 1
    alpha = np.concatenate([photo, np.full((13, 20, 1), 7, np.uint8)], axis=2)
    plain = features.image("x", height=13, width=20, dtype="uint8")
    np.testing.assert_array_equal(plain.encode({"x": pa.array([coded(alpha)])})["x"][0], photo)
    file = io.BytesIO()
    deep = np.arange(260, dtype=np.uint16).reshape(13, 20) * 252
    Image.fromarray(deep).save(file, "PNG")
    found = plain.encode({"x": pa.array([file.getvalue()])})["x"][0]
    np.testing.assert_array_equal(found, np.repeat((deep >> 8)[..., None], 3, axis=2))


def test_images_of_sparks_data_source(photo):
    blue_first = photo[..., ::-1].tobytes()
    row = {"origin": "", "height": 13, "width": 20, "nChannels": 3, "mode": 16, "data": blue_first}
    encoder = features.image("x", height=13, width=20, dtype="uint8")
    np.testing.assert_array_equal(encoder.encode({"x": pa.array([row])})["x"][0], photo)
    with pytest.raises(BadColumn, match="2 channels"):
        encoder.encode({"x": pa.array([row | {"nChannels": 2}])})


@pytest.mark.parametrize("damage", [lambda c: c[: len(c) // 2], lambda c: b"GIF", lambda c: b"", lambda c: None])
def test_what_is_no_image_names_its_row_or_becomes_zeros(photo, damage):
    good = coded(photo)
    column = pa.array([good, damage(good), good], pa.binary())
    with pytest.raises(BadColumn) as raised:
        features.image("x", height=4, width=4).encode({"x": column})
    assert raised.value.problem.row == 1 and 'on_error="zeros"' in raised.value.problem.text
    found = features.image("x", height=4, width=4, on_error="zeros").encode({"x": column})
    np.testing.assert_array_equal(found["x_mask"], [True, False, True])
    assert not found["x"][1].any() and found["x"][0].any()
    np.testing.assert_array_equal(found["x"][0], found["x"][2])


def test_strings_are_no_images():
    with pytest.raises(BadColumn, match="string is no encoded image"):
        features.image("x", height=4, width=4).encode({"x": pa.array(["a.png"])})


def test_pillow_is_asked_for_where_it_is_needed(photo, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "PIL":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ArgumentError, match=r"pip install 'fdl\[images\]'"):
        features.image("x", height=4, width=4).encode({"x": pa.array([coded(photo)])})
