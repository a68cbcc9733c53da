"""Empty batches, dtypes, and shapes that models refuse."""

from functools import cache, partial
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import fdl
from fdl import random, tree
from fdl.errors import ShapeError
from fdl.models import anomaly_lstm, autoencoder, bert, conv_lstm, gpt2, recurrent_lm, sasrec, ssd, unet, vit
from tests.models.case import Case
from tests.models.cases import CASES

each_case = pytest.mark.parametrize("case", CASES, ids=str)
KEY = random.key(0)


def result(case: Case, rows: int, cast: Any = np.asarray) -> list[Any]:
    """Shapes and dtypes of what a model returns for so many rows."""
    made = tree.map(cast, zeros(case.name))
    batch = case.batch(np.random.default_rng(0), 2)
    inputs = [cast(batch[name][:rows]) for name in case.inputs]
    parts = made if isinstance(made, tuple) else (made,)
    found = fdl.eval_shape(lambda *args: case.module.apply(*args, config=case.config), *parts, *inputs)
    return tree.leaves(found[0] if isinstance(made, tuple) else found)


@cache
def zeros(name: str) -> Any:
    """Parameters, and the state, of the shapes that `init` makes."""
    case = next(case for case in CASES if case.name == name)
    made = fdl.eval_shape(lambda key: case.module.init(key, case.config), KEY)
    return tree.map(lambda s: np.zeros(s.shape, s.dtype), made)


@each_case
def test_an_empty_batch_has_empty_outputs(case: Case) -> None:
    shapes = case.outputs if isinstance(case.outputs, list) else [case.outputs]
    assert [x.shape for x in result(case, 0)] == [(0, *shape[1:]) for shape in shapes]


@each_case
def test_short_numbers_stay_short(case: Case) -> None:
    def cast(x: Any) -> Any:
        return np.asarray(x).astype(ml_dtypes.bfloat16) if np.asarray(x).dtype == np.float32 else np.asarray(x)

    assert {x.dtype for x in result(case, 2, cast)} == {np.dtype(ml_dtypes.bfloat16)}


def test_too_many_tokens_are_refused_where_the_table_of_positions_ends() -> None:
    """Compiled, they would be NaN or have other positions."""
    small = gpt2.Config(9, 4, 4, 1, 1)
    params, tokens = gpt2.init(KEY, small), np.ones((1, 5), np.int32)
    with pytest.raises(ShapeError, match="gpt2 needs tokens .* at most 4"):
        fdl.jit(lambda p, x: gpt2.apply(p, x, config=small))(params, tokens)
    with pytest.raises(ShapeError, match="prompt of at least one token"):
        gpt2.generate(params, tokens[:, :0], 2, config=small)
    with pytest.raises(ShapeError, match="with 3 more has at most 4"):
        gpt2.generate(params, tokens[:, :2], 3, config=small)
    with pytest.raises(ShapeError, match="recurrent_lm.generate needs a prompt"):
        recurrent_lm.generate(params, tokens[0], 2)
    items = sasrec.Config(9, 4, 4)
    with pytest.raises(ShapeError, match="sasrec needs tokens"):
        sasrec.apply(sasrec.init(KEY, items), tokens, config=items)
    text = bert.Config(9, 4, 2, 4, 1, 1, 4)
    with pytest.raises(ShapeError, match="bert needs tokens"):
        bert.apply(bert.init(KEY, text), tokens, config=text)


def test_images_of_other_sizes_are_refused() -> None:
    small = vit.Config(size=8, patch=4, width=4, hidden=4, layers=1, heads=1, classes=2)
    with pytest.raises(ShapeError, match="vit needs images .* 4 positions"):
        vit.apply(vit.init(KEY, small), np.zeros((1, 16, 16, 3), np.float32), config=small)
    with pytest.raises(ShapeError, match="no patch of 16"):
        vit.init(KEY, vit.Config(size=8))
    with pytest.raises(ShapeError, match="no multiple of 4"):
        autoencoder.init(KEY, autoencoder.Config(size=30))
    frames = conv_lstm.Config(layers=(2,), window=3, patch=2, size=4, frames=3, future=2)
    with pytest.raises(ShapeError, match=r"conv_lstm needs frames \[batch, 3"):
        conv_lstm.apply(conv_lstm.init(KEY, frames), np.zeros((1, 4, 4, 4), np.float32), config=frames)
    with pytest.raises(ShapeError, match="takes a guess if its configuration is guided, which is False, got one"):
        conv_lstm.apply(conv_lstm.init(KEY, frames), np.zeros((1, 3, 4, 4)), np.zeros((1, 2, 4, 4)), config=frames)
    with pytest.raises(ShapeError, match="anomalies needs values"):
        anomaly_lstm.anomalies(np.zeros((2, 3)), np.zeros((2, 3)), 1)


@pytest.mark.parametrize(("padded", "size", "classes"), [(True, 16, 16), (False, 44, 4)])
def test_a_unet_has_any_widths(padded: bool, size: int, classes: int) -> None:
    """Without padding by hand: 44, 40; 20, 16; 8, 4 on the way down, then 8, 4 and 8, 4 on the way up."""
    config = unet.Config(widths=(4, 6, 7), padded=padded, size=size)
    images = np.zeros((1, size, size, 1), np.float32)
    found = fdl.eval_shape(lambda key: unet.apply(unet.init(key, config), images, config=config), KEY)
    assert found.shape == (1, classes, classes, 2)


def test_a_guided_conv_lstm_reads_the_guess_of_a_frame_and_of_those_before() -> None:
    config = conv_lstm.Config(layers=(3, 2), window=3, patch=2, size=4, frames=3, future=4, guided=True)
    params, rng = conv_lstm.init(KEY, config), np.random.default_rng(0)
    batch = {
        "frames": rng.random((2, 3, 4, 4)),
        "guess": rng.random((2, 4, 4, 4)),
        "next": rng.random((2, 4, 4, 4)),
    }
    other = batch["guess"].copy()
    other[:, 2] += 1
    forecast = fdl.jit(partial(conv_lstm.apply, config=config))
    one, two = (np.asarray(forecast(params, batch["frames"], guess)) for guess in (batch["guess"], other))
    assert (one[:, :2] == two[:, :2]).all() and (one[:, 2:] != two[:, 2:]).all((0, 2, 3)).all()
    assert [spec.shape for spec in conv_lstm.inputs(config, 2)] == [(2, 3, 4, 4), (2, 4, 4, 4)]
    entropy = np.logaddexp(0, one) - batch["next"] * one
    assert float(conv_lstm.loss(params, batch, config=config)) == pytest.approx(entropy.mean(), rel=1e-5)
    with pytest.raises(ShapeError, match=r"conv_lstm needs a guess \[batch, 4"):
        conv_lstm.apply(params, batch["frames"], batch["frames"], config=config)
    with pytest.raises(ShapeError, match="as many guesses as frames, 2, got 1"):
        conv_lstm.apply(params, batch["frames"], other[:1], config=config)


def test_a_conv_lstm_takes_parameters_and_frames_of_two_dtypes() -> None:
    config = conv_lstm.Config(layers=(2,), window=3, patch=2, size=4, frames=3, future=2)
    params, frames = conv_lstm.init(KEY, config), np.zeros((1, 3, 4, 4), ml_dtypes.bfloat16)
    found = fdl.eval_shape(lambda p, x: conv_lstm.apply(p, x, config=config), params, frames)
    assert (found.shape, found.dtype) == ((1, 2, 4, 4), np.float32)


def test_boxes_without_an_area_do_not_count() -> None:
    rng = np.random.default_rng(0)
    priors = np.array([[0, 0, 1, 1], [0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1]], np.float32)
    logits, offsets = (rng.normal(size=(1, 3, n)).astype(np.float32) for n in (3, 4))
    true = np.array([[[0.1, 0.1, 0.5, 0.5]]], np.float32)
    flat = np.array([[[0.2, 0.3, 0.2, 0.9]]], np.float32)

    def loss(offsets: Any, boxes: np.ndarray, classes: list[int]) -> Any:
        return ssd.multibox_loss(logits, offsets, priors, boxes, np.array([classes], np.int32))

    value, gradient = fdl.value_and_grad(loss)(offsets, true, [1])
    both = np.concatenate([flat, true], axis=1)
    again, same = fdl.value_and_grad(loss)(offsets, both, [0, 1])
    np.testing.assert_allclose(again, value, rtol=1e-6)
    np.testing.assert_allclose(same, gradient, rtol=1e-6)
    assert np.isfinite(np.asarray(gradient)).all() and np.asarray(gradient).any()
    assert loss(offsets, true[:, :0], []) == 0


def test_ssd_finds_an_object_once_if_classes_do_not_count() -> None:
    """Against a loop in float64 over all boxes, each with its likeliest class."""
    rng = np.random.default_rng(5)
    params = tree.map(np.asarray, ssd.init(KEY, ssd.TINY))
    params["heads"] = tree.map(lambda w: rng.normal(0, 0.03, w.shape).astype(np.float32), params["heads"])
    images = rng.normal(size=(2, 16, 16, 3)).astype(np.float32)
    logits, offsets = (np.asarray(x) for x in ssd.apply(params, images, config=ssd.TINY))
    boxes = np.asarray(fdl.numpy.clip(fdl.nn.decode_boxes(offsets, ssd.priors(ssd.TINY)), 0, 1))
    shared = np.asarray(fdl.nn.box_iou(boxes, boxes))
    exps = np.exp(logits.astype(np.float64))
    likely = (exps / exps.sum(-1, keepdims=True))[..., 1:]
    found = ssd.detect(params, images, config=ssd.TINY, count=6, overlap=0.2, score=0.3, agnostic=True)
    for image in range(2):
        left, kept = np.max(likely[image], 1), []
        for place in np.argsort(-left):
            if left[place] > 0.3 and len(kept) < 6 and not (shared[image, place, kept] > 0.2).any():
                kept.append(place)
        got = [np.asarray(x)[image, : len(kept)] for x in found]
        np.testing.assert_allclose(got[0], boxes[image, kept], atol=1e-6)
        np.testing.assert_allclose(got[1], left[kept], atol=1e-5)
        assert got[2].tolist() == likely[image, kept].argmax(-1).tolist() and kept
        assert (np.asarray(found[2])[image, len(kept) :] == -1).all()
