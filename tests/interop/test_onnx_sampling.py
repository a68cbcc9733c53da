"""ONNX's operators on space, signals and chosen elements, against SciPy, NumPy and laws; they need no onnx."""

import numpy as np
import pytest
from scipy import ndimage

import fdl
import fdl.numpy as fnp
from fdl.errors import InteropError
from fdl.interop.onnx_operators import TABLE
from fdl.interop.onnx_versions import modern

RNG = np.random.default_rng(0)


def f32(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("padding", "corners", "mode"),
    [
        ("zeros", 0, "grid-constant"), ("border", 1, "nearest"), ("reflection", 1, "mirror"),
        ("reflection", 0, "reflect"),
    ],
)  # fmt: skip
def test_grids_are_sampled_as_scipy_does(padding: str, corners: int, mode: str) -> None:
    x, grid = f32(2, 3, 5, 4), RNG.uniform(-1.6, 1.6, (2, 6, 7, 2)).astype(np.float32)
    found = TABLE["GridSample"](fnp.asarray(x), fnp.asarray(grid), corners, "linear", padding)
    turned = grid[..., ::-1].astype(np.float64)  # the last axis of space stands first
    sizes = np.array(x.shape[2:])
    places = (turned + 1) / 2 * (sizes - 1) if corners else ((turned + 1) * sizes - 1) / 2
    for n in range(2):
        for c in range(3):
            want = ndimage.map_coordinates(x[n, c], np.moveaxis(places[n], -1, 0), order=1, mode=mode)
            np.testing.assert_allclose(found[n, c], want, rtol=1e-4, atol=1e-5)


def test_a_grid_of_the_identity_reads_the_elements_themselves() -> None:
    x, same = f32(1, 2, 3, 4, 5), np.eye(3, 4, dtype=np.float32)[None]
    for corners in (0, 1):
        grid = TABLE["AffineGrid"](fnp.asarray(same), np.array(x.shape), corners)
        for mode in ("nearest", "linear", "cubic"):
            read = TABLE["GridSample"](fnp.asarray(x), grid, corners, mode)
            np.testing.assert_allclose(read, x, rtol=1e-4, atol=1e-5)


def test_regions_are_means_of_interpolated_values() -> None:
    x = np.broadcast_to(np.arange(8.0, dtype=np.float32), (1, 1, 8, 8))  # every value is its column
    boxes = np.array([[1.0, 2, 5, 6]], np.float32)
    settings = {"output_height": 2, "output_width": 2, "coordinate_transformation_mode": "output_half_pixel"}
    for ratio in (2, 0):
        found = TABLE["RoiAlign"](fnp.asarray(x), fnp.asarray(boxes), np.array([0]), sampling_ratio=ratio, **settings)
        np.testing.assert_allclose(found[0, 0], [[2, 4], [2, 4]], rtol=1e-5)
    with pytest.raises(InteropError, match="RoiAlign with sampling_ratio=0 depends"):
        fdl.jit(lambda b: TABLE["RoiAlign"](fnp.asarray(x), b, np.array([0]), **settings))(boxes)


def test_a_deformable_convolution_that_does_not_deform_is_one() -> None:
    x, w, bias = f32(2, 4, 6, 5), f32(6, 2, 3, 3), f32(6)
    settings = {"pads": [1, 1, 1, 1], "strides": [2, 1], "group": 2}
    want = TABLE["Conv"](*map(fnp.asarray, (x, w, bias)), **settings)
    offsets = np.zeros((2, 2 * 9 * 2, *want.shape[2:]), np.float32)
    mask = np.full((2, 2 * 9, *want.shape[2:]), 0.5, np.float32)
    operands = (x, w, offsets, bias, mask)
    found = TABLE["DeformConv"](*map(fnp.asarray, operands), offset_group=2, **settings)
    shift = bias[:, None, None]
    np.testing.assert_allclose(found, (np.asarray(want) - shift) / 2 + shift, rtol=1e-4, atol=1e-5)


def test_the_largest_are_put_back_where_they_were() -> None:
    x = f32(2, 3, 6, 4)
    settings = {"kernel_shape": [2, 2], "strides": [2, 2]}
    _, named = modern("MaxPool", ("x",), dict(settings), 2, 22)
    values, places = TABLE["MaxPool"](fnp.asarray(x), **named)
    np.testing.assert_array_equal(x.reshape(-1)[np.asarray(places)], values)
    back = np.asarray(TABLE["MaxUnpool"](values, places, **settings))
    assert np.count_nonzero(back) == places.size
    np.testing.assert_array_equal(back[back != 0], x[back != 0])
    turned = TABLE["MaxPool"](fnp.asarray(x), storage_order=1, **named)[1]  # counted column by column
    by_column = x.transpose(0, 1, 3, 2).reshape(-1)
    np.testing.assert_array_equal(by_column[np.asarray(turned)], values)
    total = TABLE["LpPool"](fnp.asarray(x), p=3, **settings)
    want = (np.abs(x).reshape(2, 3, 3, 2, 2, 2) ** 3).sum((3, 5)) ** (1 / 3)
    np.testing.assert_allclose(total, want, rtol=1e-5)


def test_adding_windows_up_is_the_transpose_of_cutting_them_out() -> None:
    image, windows = f32(1, 1, 5, 6), f32(1, 6, 4 * 2)
    settings = {"strides": [1, 2], "pads": [0, 1, 0, 0], "dilations": [1, 2]}
    found = TABLE["Col2Im"](fnp.asarray(windows), np.array([5, 6]), np.array([2, 3]), **settings)
    wide = np.pad(image[0, 0], [(0, 0), (1, 0)])
    cut = np.stack([wide[i : i + 4, 2 * j : 2 * j + 3 : 2].reshape(-1) for i in range(2) for j in range(3)])
    assert cut.shape == windows[0].shape
    assert found.shape == image.shape
    np.testing.assert_allclose((np.asarray(found) * image).sum(), (cut * windows[0]).sum(), rtol=1e-4)


def test_signals_are_transformed_as_numpy_does() -> None:
    x = f32(2, 10, 1)
    z = x[..., 0].astype(np.float64)

    def parts(values: np.ndarray) -> np.ndarray:
        return np.stack([values.real, values.imag], -1)

    np.testing.assert_allclose(TABLE["DFT"](fnp.asarray(x), axis=1), parts(np.fft.fft(z)), rtol=1e-4, atol=1e-5)
    half = TABLE["DFT"](fnp.asarray(x), np.array(8), np.array(1), onesided=1)
    np.testing.assert_allclose(half, parts(np.fft.rfft(z, 8)), rtol=1e-4, atol=1e-5)
    back = TABLE["DFT"](TABLE["DFT"](fnp.asarray(x), axis=1), axis=1, inverse=1)
    np.testing.assert_allclose(back[..., 0], z, rtol=1e-4, atol=1e-5)
    assert modern("DFT", ("x",), {}, 1, 17)[1] == {"axis": 1}  # which was the default before version 20
    window = np.hanning(4).astype(np.float32)
    frames = TABLE["STFT"](fnp.asarray(x), np.array(3), fnp.asarray(window))
    want = np.fft.rfft(np.stack([z[:, i : i + 4] * window for i in (0, 3, 6)], 1))
    np.testing.assert_allclose(frames, parts(want), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(TABLE["HannWindow"](np.array(7), periodic=0), np.hanning(7), atol=1e-6)
    np.testing.assert_allclose(TABLE["BlackmanWindow"](np.array(7), periodic=0), np.blackman(7), atol=1e-6)


def test_an_axis_made_shorter_against_aliasing_reads_more_neighbours() -> None:
    x = np.zeros((1, 1, 8), np.float32)
    x[..., 3] = 8
    scales = np.array([1, 1, 0.5], np.float32)
    found = TABLE["Resize"](fnp.asarray(x), None, scales, mode="linear", antialias=1)
    np.testing.assert_allclose(found[0, 0], [0, 3, 1, 0], atol=1e-6)  # a triangle of four elements: 1, 3, 3, 1
    region = np.array([0, 0, 0.5, 1, 1, 1.5], np.float32)
    settings = {"coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 9.0}
    ramp = np.arange(5, dtype=np.float32).reshape(1, 1, 5)
    cut = TABLE["Resize"](fnp.asarray(ramp), region, None, np.array([1, 1, 3]), mode="linear", **settings)
    np.testing.assert_allclose(cut[0, 0], [2, 4, 9])


def test_what_is_chosen_by_numbers_needs_numbers() -> None:
    x = np.array([3, 1, 3, 2], np.float32)
    np.testing.assert_array_equal(TABLE["NonZero"](fnp.asarray(x > 2)), [[0, 2]])
    np.testing.assert_array_equal(TABLE["Compress"](fnp.asarray(x), np.array([True, False, True])), [3, 3])
    values, first, inverse, counts = TABLE["Unique"](fnp.asarray(x), sorted=0)
    np.testing.assert_array_equal(values, [3, 1, 2])
    np.testing.assert_array_equal((first.tolist(), counts.tolist()), [[0, 1, 3], [2, 1, 1]])
    np.testing.assert_array_equal(values[inverse], x)
    for name in ("NonZero", "Unique"):
        with pytest.raises(InteropError, match=f"the result of {name} depends on the numbers of an input"):
            fdl.jit(TABLE[name])(x)


def test_boxes_that_overlap_a_better_one_are_left_out() -> None:
    boxes = np.array([[[0, 0, 2, 2], [2, 1.9, 0, 0], [5, 5, 4, 4]]], np.float32)  # corners in any order
    scores = np.array([[[0.7, 0.9, 0.8], [0.1, 0.2, 0.95]]], np.float32)
    found = TABLE["NonMaxSuppression"](boxes, scores, np.array([5]), np.array([0.5]), np.array([0.15]))
    np.testing.assert_array_equal(found, [[0, 0, 1], [0, 0, 2], [0, 1, 2], [0, 1, 1]])
    assert TABLE["NonMaxSuppression"](boxes, scores).shape == (0, 3)  # none is kept unless the model says how many


def test_caches_and_crops() -> None:
    past, new = np.zeros((2, 4, 1), np.float32), np.array([[[1.0], [2]], [[3], [4]]], np.float32)
    written = TABLE["TensorScatter"](past, new, np.array([1, 3]), axis=1, mode="circular")
    np.testing.assert_array_equal(written[..., 0], [[0, 1, 2, 0], [4, 0, 0, 3]])
    middle = TABLE["CenterCropPad"](fnp.asarray(np.arange(1.0, 13).reshape(4, 3)), np.array([2, 6]))
    np.testing.assert_array_equal(middle, [[0, 4, 5, 6, 0, 0], [0, 7, 8, 9, 0, 0]])
    rows = fnp.asarray(np.arange(6.0).reshape(3, 2))
    turned = TABLE["ReverseSequence"](rows, np.array([3, 2]))
    np.testing.assert_array_equal(turned, [[4, 3], [2, 1], [0, 5]])
