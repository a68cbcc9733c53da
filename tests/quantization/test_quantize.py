"""`fdl.quantization`: integers are those of the definition, their products exact; what is left alone is the same."""

from typing import Any

import numpy as np
import pytest

import fdl
from fdl import lax, nn, quantization, random
from fdl.errors import NonFiniteError
from fdl.models import lenet, resnet

ROUNDING = 0.5 / 127  # of the largest weight or input


def rounded(x: np.ndarray, step: Any) -> np.ndarray:
    return np.clip(np.rint(x / step), -127, 127)


@pytest.mark.parametrize("side", [0, 1])
def test_a_product_is_that_of_the_rounded_operands(side: int) -> None:
    rng = np.random.default_rng(0)
    w = rng.normal(size=(33, 7)).astype(np.float32) * np.arange(1, 8, dtype=np.float32)
    x = rng.normal(size=(12, 33)).astype(np.float32)

    def apply(params: Any, x: Any) -> Any:
        return x @ params["w"] if side else params["w"].T @ x.T

    function, params = quantization.quantize(apply, {"w": w}, x, {"w": 2.0})
    scale = np.abs(w).max(0) / 127
    want = (rounded(x.astype(np.float64), 2 / 127) * 2 / 127) @ (rounded(w.astype(np.float64), scale) * scale)
    for compiled in (function, fdl.jit(function)):
        got = np.asarray(compiled(params, x))
        np.testing.assert_allclose(got if side else got.T, want, rtol=2e-5, atol=2e-4)
    assert np.abs(np.asarray(params["products"]["w"]["weight"])).max() == 127


def test_convolutions_have_a_scale_for_each_channel() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(2, 9, 8, 18)).astype(np.float32)
    params = {"c": {"w": rng.normal(size=(3, 3, 9, 10)).astype(np.float32), "b": np.ones(10, np.float32)}}
    params["c"]["w"][..., 3] = 0

    def apply(params: Any, x: Any) -> Any:
        numbers = ("NHWC", "HWIO", "NCHW")
        y = lax.conv_general_dilated(
            x, params["c"]["w"], (2, 1), "SAME", dimension_numbers=numbers, feature_group_count=2
        )
        return y + params["c"]["b"][:, None, None]

    x16, w8 = x[..., :16], {"c": {**params["c"], "w": params["c"]["w"][:, :, :8]}}
    function, params8 = quantization.quantize(apply, w8, x16, quantization.calibrate(apply, w8, [x16]))
    held = params8["products"]["c.w"]
    assert held["weight"].shape == (3, 3, 8, 10) and held["scale"].shape == (1, 10, 1, 1)
    assert (np.asarray(held["weight"])[..., 3] == 0).all() and list(params8["params"]) == ["c.b"]
    want = np.asarray(apply(w8, x16))
    assert np.abs(np.asarray(fdl.jit(function)(params8, x16)) - want).max() < 0.03 * np.abs(want).max()
    with pytest.raises(ValueError, match="no product"):
        quantization.calibrate(apply, params, [x])  # groups of nine channels


@pytest.mark.parametrize("name", ["lenet", "resnet20"])
def test_models_keep_their_answers(name: str) -> None:
    module: Any = {"lenet": lenet, "resnet20": resnet}[name]
    found = module.init(random.key(0))
    x = np.random.default_rng(0).random((8, *((28, 28, 1) if name == "lenet" else (32, 32, 3)))).astype(np.float32)

    def apply(params: Any, x: Any) -> Any:
        return module.apply(params, x) if name == "lenet" else module.apply(*params, x)[0]

    ranges = quantization.calibrate(apply, found, [x[:4], x[4:]])
    function, params = quantization.quantize(apply, found, fdl.ShapeDtypeStruct((2, *x.shape[1:]), "float32"), ranges)
    want, got = (np.asarray(fdl.jit(f)(p, x)) for f, p in ((apply, found), (function, params)))
    assert np.abs(got - want).max() < 0.1 * np.abs(want).max()
    assert (got.argmax(1) == want.argmax(1)).mean() >= 0.75
    sizes = [sum(np.asarray(leaf).nbytes for leaf in fdl.tree.leaves(tree)) for tree in (found, params)]
    assert sizes[1] < 0.3 * sizes[0]


def test_what_is_no_product_by_parameters_is_left_alone() -> None:
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    p = {"w": np.eye(4, dtype=np.float32), "table": np.arange(20, dtype=np.float32).reshape(5, 4)}

    def apply(params: Any, x: Any) -> Any:
        step = lambda carry, row: (carry @ params["w"], row)  # noqa: E731
        looped, _ = lax.scan(step, x[:1], x)
        return {"gram": x @ x.T, "loop": looped, "row": params["table"][3], "once": x @ (params["w"] * 2)}

    ranges = quantization.calibrate(apply, p, [x])
    assert list(ranges) == ["w"]
    function, params = quantization.quantize(apply, p, x, ranges)
    got, want = function(params, x), apply(p, x)
    for name in ("gram", "loop", "row"):
        np.testing.assert_array_equal(np.asarray(got[name]), np.asarray(want[name]))
    assert not np.array_equal(np.asarray(got["once"]), np.asarray(want["once"]))
    np.testing.assert_allclose(np.asarray(got["once"]), np.asarray(want["once"]), atol=4 * np.abs(x).max() * ROUNDING)


def test_the_range_has_the_least_squared_error() -> None:
    rng = np.random.default_rng(0)
    heavy = np.concatenate([rng.normal(size=100_000), [60.0]]).astype(np.float32)
    found = quantization.largest(quantization.histogram(heavy))

    def error(reach: float) -> float:
        return float(((rounded(heavy, reach / 127) * reach / 127 - heavy) ** 2).sum())

    tried = {reach: error(reach) for reach in np.geomspace(1, 64, 200)}
    assert error(found) <= 1.03 * min(tried.values())
    assert quantization.largest(quantization.histogram(np.zeros(3))) == 1
    with pytest.raises(NonFiniteError):
        quantization.largest(quantization.histogram([1.0, np.nan]))
    with pytest.raises(ValueError, match="at least one element"):
        quantization.largest(np.zeros(quantization.BINS, np.int64))


def test_histograms_count_every_element_once() -> None:
    x = np.random.default_rng(0).normal(size=(7, 9)).astype(np.float32)
    whole = np.asarray(quantization.histogram(x))
    assert whole.sum() == x.size
    np.testing.assert_array_equal(whole, sum(np.asarray(quantization.histogram(-row)) for row in x))


def test_parameters_are_saved_as_arrays(tmp_path: Any) -> None:
    params = nn.init_dense(random.key(0), 8, 3)
    x = np.ones((2, 8), np.float32)
    function, small = quantization.quantize(nn.dense, params, x, {"w": 1.0})
    fdl.save(tmp_path / "small.safetensors", small)
    again = fdl.load(tmp_path / "small.safetensors")
    np.testing.assert_array_equal(np.asarray(function(again, x)), np.asarray(function(small, x)))


def test_mistakes_are_named() -> None:
    params, x = nn.init_dense(random.key(0), 8, 3), np.ones((2, 8), np.float32)
    with pytest.raises(ValueError, match=r"ranges lacks \['w'\]"):
        quantization.quantize(nn.dense, params, x, {})
    with pytest.raises(ValueError, match=r"skip names \['v'\]; the products are \['w'\]"):
        quantization.quantize(nn.dense, params, x, {"w": 1.0}, skip=["v"])
    with pytest.raises(ValueError, match="no product by parameters is left"):
        quantization.quantize(nn.dense, params, x, {}, skip=["w"])
    with pytest.raises(ValueError, match="no batches"):
        quantization.calibrate(nn.dense, params, [])
