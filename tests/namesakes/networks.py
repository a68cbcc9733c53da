"""Rows of fdl.nn: activations of jax.nn, losses of optax, layers; the oracles are a few lines of NumPy each."""

import numpy as np
import scipy.special as special

import fdl.nn
from tests.namesakes.draws import Draw
from tests.namesakes.engine import Call, Table, call

TABLE = Table(fdl.nn, None)
row = TABLE.row
FLOAT = ("float32", "float64")
KINDS = (*FLOAT, "float16", "bfloat16", "int32", "int8")


def one(kinds=KINDS, **settings):
    return lambda d: call(d.array(kinds, **settings))


def activation(names, oracle, kinds=KINDS, **settings):
    row(names, one(kinds), oracle, **({"kind": "inexact", "near": True, "ulps": 8, "zeros": False} | settings))


def _gelu(x, approximate=True):
    inner = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    return 0.5 * x * (1 + inner) if approximate else x * special.ndtr(x)


def _elu(x, alpha=1.0):
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _relu(x):
    return np.where(x <= 0, 0, x).astype(x.dtype)


# NaN passes through the corners of these; relu, like jax.nn.relu, is max(x, 0).
activation("identity", lambda x: x, kind="common")
activation("relu", _relu, kind="common")
activation("relu6", lambda x: np.where(np.isnan(x), x, np.clip(x, 0, 6)))
activation("leaky_relu", lambda x: np.where(x >= 0, x, 0.01 * x))
activation("elu", _elu)
activation("celu", _elu)
activation("selu", lambda x: 1.0507009873554805 * _elu(x, 1.6732632423543772))
activation("sigmoid", special.expit)
activation("silu swish", lambda x: x * special.expit(x))
activation("tanh", np.tanh)
activation("softplus", lambda x: np.logaddexp(x, 0))
activation("log_sigmoid", lambda x: -np.logaddexp(-x, 0))
activation("mish", lambda x: x * np.tanh(np.logaddexp(x, 0)))
activation("soft_sign", lambda x: x / (1 + np.abs(x)))
activation(
    "squareplus", lambda x: np.where(x > 0, x + np.sqrt(x * x + 4), 4 / (np.sqrt(x * x + 4) - x)) / 2, (*FLOAT, "int32")
)
activation("sparse_plus", lambda x: np.where(x <= -1, 0, np.where(x >= 1, x, (x + 1) ** 2 / 4)))
activation("sparse_sigmoid", lambda x: 0.5 * np.clip(x + 1, 0, 2))
activation("hard_tanh", lambda x: np.clip(x, -1, 1), kind="common")
activation("hard_sigmoid", lambda x: np.clip(x + 3, 0, 6) / 6)
activation("hard_silu hard_swish", lambda x: x * (np.clip(x + 3, 0, 6) / 6))
row(
    "gelu",
    lambda d: call(d.array((*FLOAT, "int32"), low=-9, high=9), **d.some(approximate=False)),
    _gelu,
    kind="inexact",
    near=True,
    ulps=8,
    zeros=False,
)
row("log1mexp", one(FLOAT, low=0.01, high=30), lambda x: np.log(-np.expm1(-x)), near=True, ulps=16)


def _glu(x, axis=-1):
    a, b = np.split(x, 2, axis)
    return a * special.expit(b)


row(
    "glu",
    lambda d: call(
        d.array((*FLOAT, "int32"), d.pick((4,), (2, 4), (4, 2), (3, 2)), False), **d.some(axis=d.pick(0, -1, -2))
    ),
    _glu,
    kind="inexact",
    near=True,
)


def _masked(d: Draw, **more) -> Call:
    x = d.array((*FLOAT, "int32"), None, False, -9, 9, least=1, empty=False)
    return call(x, **d.some(axis=lambda: d.axis(x, several=True), where=lambda: d.rng.random(x.shape) < 0.7, **more))


def _softmax(x, axis=-1, where=None):
    x = x if where is None else np.where(where, x, -np.inf)
    largest = x.max(axis=axis, keepdims=True)
    e = np.exp(x - np.where(np.isinf(largest), 0, largest))
    total = e.sum(axis=axis, keepdims=True)
    return e / np.where(total == 0, 1, total)


def _log_softmax(x, axis=-1, where=None):
    x = x if where is None else np.where(where, x, -np.inf)
    largest = x.max(axis=axis, keepdims=True)
    x = x - np.where(np.isinf(largest), 0, largest)
    total = np.exp(x).sum(axis=axis, keepdims=True)
    return x - np.log(np.where(total == 0, 1, total))


def _logsumexp(x, axis=None, where=None, keepdims=False):
    x = x if where is None else np.where(where, x, -np.inf)
    return (
        np.logaddexp.reduce(x, axis, keepdims=keepdims)
        if not isinstance(axis, tuple) and axis is not None
        else np.log(np.exp(x).sum(axis, keepdims=keepdims))
    )


def _logmeanexp(x, axis=None, where=None, keepdims=False):
    count = np.ones(x.shape) if where is None else np.broadcast_to(where, x.shape) * 1.0
    return _logsumexp(x, axis, where, keepdims) - np.log(count.sum(axis, keepdims=keepdims))


def _standardize(x, axis=-1, where=True):
    mean, variance = (f(x, axis=axis, keepdims=True, where=where) for f in (np.mean, np.var))
    return (x - mean) / np.sqrt(variance + 1e-5)


MASKED = {"kind": "inexact", "near": True, "ulps": 64, "zeros": False}
row("softmax", _masked, _softmax, **MASKED)
row("log_softmax", _masked, _log_softmax, **MASKED)
row("logsumexp", lambda d: _masked(d, keepdims=True), _logsumexp, **MASKED)
row("logmeanexp", lambda d: _masked(d, keepdims=True), _logmeanexp, **MASKED)
row("standardize", _masked, _standardize, **(MASKED | {"ulps": 2**13}))


def _one_hot(x, count, axis=-1, dtype=None):
    return np.moveaxis(np.asarray(x)[..., None] == np.arange(count), -1, axis).astype(float)


row(
    "one_hot",
    lambda d: call(
        d.array(("int32", "int8", "uint8", "int64"), None, False, -1, 4),
        d.pick(0, 3, 300),
        **d.some(axis=0, dtype=np.dtype("int32")),
    ),
    _one_hot,
    dtype=lambda c: c.kwargs.get("dtype", np.dtype(np.float32)),
)


# Losses
def _pair(d: Draw) -> Call:
    kind, shape = d.pick(*FLOAT, "int32", "uint8", "int8"), d.shape()
    x = d.elements(kind, shape, False, -99, 99)
    return call(x, d.elements(kind, shape, False, -99, 99)) if d.flag() else call(x)


def _error(x, y=None):
    return x if y is None else x - y


def loss(name, oracle, draw=_pair, **settings):
    row(
        name,
        draw,
        oracle,
        **({"near": True, "ulps": 32, "zeros": False, "promoted": True, "kind": "inexact"} | settings),
    )


loss("squared_error", lambda *p: _error(*p) ** 2)
loss("absolute_error", lambda *p: np.abs(_error(*p)))
loss("l2_loss", lambda *p: 0.5 * _error(*p) ** 2)
loss("huber_loss", lambda *p: np.where(np.abs(e := _error(*p)) < 1, 0.5 * e * e, np.abs(e) - 0.5))
loss("log_cosh", lambda *p: np.logaddexp(e := _error(*p), -e) - np.log(2))
loss(
    "hinge_loss",
    lambda x, y: np.maximum(0, 1 - x * y),
    lambda d: call(x := d.array((*FLOAT, "int8"), None, False, -99, 99), np.sign(x)),
)
loss(
    "sigmoid_binary_cross_entropy",
    lambda x, y: np.logaddexp(0, x) - x * y,
    lambda d: call(x := d.array(FLOAT, None, False), d.elements(x.dtype, x.shape, False, 0, 1)),
)


def _classes(d: Draw) -> Call:
    x = d.array(FLOAT, d.pick((3,), (2, 3), (4, 2, 5)), False)
    p = d.elements(x.dtype, x.shape, False, 0.1, 1)
    return call(x, p / p.sum(-1, keepdims=True))


def _with_axis(function):
    return lambda d: Call(_classes(d).args, d.some(axis=d.pick(0, -1)))


loss("softmax_cross_entropy", lambda x, p, axis=-1: -(p * _log_softmax(x, axis)).sum(axis), _with_axis(None))
loss("kl_divergence", lambda x, p, axis=-1: (p * (np.log(p) - x)).sum(axis), _with_axis(None))


def _cosine(x, y, epsilon=0.0, axis=-1):
    lengths = [np.maximum(np.sqrt((v * v).sum(axis)), epsilon) for v in (x, y)]
    return (x * y).sum(axis) / (lengths[0] * lengths[1])


loss("cosine_similarity", _cosine, lambda d: Call(_classes(d).args, d.some(axis=0, epsilon=1e-3)))
loss(
    "smooth_labels",
    lambda p, alpha: (1 - alpha) * p + alpha / p.shape[-1],
    lambda d: call(_classes(d).args[1], d.pick(0.0, 0.1, 1.0)),
    promoted=False,
)


def _labels(d: Draw) -> Call:
    n = d.pick(3, 200, 300)
    x = d.elements(d.pick(*FLOAT), (4, n), False)
    return call(x, d.elements(d.pick("int32", "int8", "uint8"), (4,), False, -1, min(n, 120)))


def _integer_labels(x, labels):
    valid = (labels >= 0) & (labels < x.shape[-1])
    found = np.take_along_axis(_log_softmax(x), np.where(valid, labels, 0).astype(int)[:, None], -1)[:, 0]
    return np.where(valid, -found, np.nan)


loss("softmax_cross_entropy_with_integer_labels", _integer_labels, _labels, promoted=False)


# Layers
def _rows(d: Draw) -> np.ndarray:
    return d.elements(d.pick("float32", "float32", "int8", "uint8"), d.pick((4,), (3, 4), (2, 3, 4)), False, -99, 99)


def _scaled(d: Draw) -> dict:
    return {"w": d.elements("float32", (4,), False), "b": d.elements("float32", (4,), False)}


def _normalized(x, axes, epsilon=1e-5):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


LAYER = {"kind": "inexact", "near": True, "ulps": 512, "zeros": False, "dtype": np.dtype(np.float32)}
row("layer_norm", lambda d: call(_scaled(d), _rows(d)), lambda p, x: _normalized(x, -1) * p["w"] + p["b"], **LAYER)
row(
    "rms_norm",
    lambda d: call(_scaled(d), _rows(d)),
    lambda p, x: x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * p["w"] + p["b"],
    **LAYER,
)


def _group_norm(p, x, groups):
    split = x.reshape(*x.shape[:-1], groups, -1)
    return _normalized(split, (*range(1, x.ndim - 1), -1)).reshape(x.shape) * p["w"] + p["b"]


row(
    "group_norm",
    lambda d: call(_scaled(d), d.elements("float32", d.pick((2, 3, 4), (1, 2, 2, 4)), False), d.pick(1, 2, 4)),
    _group_norm,
    **LAYER,
)
row(
    "dense",
    lambda d: call({"w": d.elements("float32", (4, 2), False), "b": d.elements("float32", (2,), False)}, _rows(d)),
    lambda p, x: x @ p["w"] + p["b"],
    **LAYER,
)
row(
    "embedding",
    lambda d: call({"w": d.elements("float32", (5, 3), False)}, d.array(("int32", "int8"), None, False, 0, 4)),
    lambda p, i: p["w"][i],
    **(LAYER | {"kind": "common"}),
)


def _batch_norm(p, stats, x, training):
    axes = tuple(range(x.ndim - 1))
    mean, var = (x.mean(axes), x.var(axes)) if training else (stats["mean"], stats["var"])
    out = (x - mean) / np.sqrt(var + 1e-5) * p["w"] + p["b"]
    return out, {k: 0.9 * stats[k] + 0.1 * v if training else v for k, v in (("mean", mean), ("var", var))}


row(
    "batch_norm",
    lambda d: call(
        _scaled(d), {"mean": np.zeros(4, np.float32), "var": np.full(4, 2, np.float32)}, _rows(d), training=d.flag()
    ),
    _batch_norm,
    **LAYER,
)


def _attention(q, k, v, is_causal=False, scale=None, bias=0.0, mask=True):
    logits = np.einsum("bthd,bshd->bhts", q, k) * (q.shape[-1] ** -0.5 if scale is None else scale) + bias
    logits = np.where(mask, logits, -1e30)
    if is_causal:
        logits = np.where(np.tri(*logits.shape[-2:]) > 0, logits, -1e30)
    return np.einsum("bhts,bshd->bthd", _softmax(logits), v)


def _queries(d: Draw) -> Call:
    q, k, v = (d.elements("float32", (2, t, 2, 4), False) for t in (3, 5, 5))
    return call(q, k, v, **d.some(is_causal=True, scale=0.3, bias=d.elements("float32", (1, 1, 3, 5), False)))


row("dot_product_attention", _queries, _attention, **LAYER)
TABLE.exclude("conv conv_transpose max_pool avg_pool", "tests/nn/test_layers.py compares them with loops")
TABLE.exclude("gru_cell lstm_cell multi_head_attention dropout", "tests/nn/test_layers.py holds their equations")
TABLE.exclude("gru_carry lstm_carry", "zeros")
TABLE.exclude("all_finite get_policy mixed_precision select_tree", "tests/nn/test_mixed_precision.py has their rules")
TABLE.exclude(
    "additive_attention beam_search generate keep_likely stacked_ids", "tests/nn/test_decoding.py has their definitions"
)
TABLE.exclude(
    "adaptive_avg_pool adaptive_max_pool alibi_bias alpha_dropout attend attention_cache bidirectional_rnn bilinear "
    "causal_mask combine_masks conv_lstm_carry conv_lstm_cell depthwise_conv drop_path embedding_bag feature_dropout "
    "gated_mlp gaussian_dropout gaussian_noise global_avg_pool global_max_pool instance_norm last_outputs "
    "local_response_norm lp_pool mlp padding_mask rnn rnn_cell rotary_embedding separable_conv sinusoidal_positions "
    "spatial_dropout spectral_norm squeeze_excite stacked_rnn summary transformer transformer_block "
    "transformer_caches weight_norm",
    "tests/nn/test_more_layers.py has their definitions",
)
TABLE.exclude(
    "init_additive_attention init_bilinear init_conv_lstm init_depthwise_conv init_gated_mlp init_instance_norm "
    "init_mlp init_rnn init_separable_conv init_spectral_norm init_squeeze_excite init_transformer_block "
    "init_weight_norm",
    "made of the initializers that tests/nn/test_initializers.py holds",
)
TABLE.exclude(
    "absolute_percentage_error binary_dice_loss bpr_loss contrastive_loss convex_kl_divergence cosine_distance "
    "cosine_embedding_loss ctc_loss ctc_loss_with_forward_probs dice_loss ensemble_crps gaussian_crps "
    "gaussian_nll_loss generalized_kl_divergence info_nce iou_loss js_divergence kl_divergence_with_log_targets "
    "list_mle_loss make_fenchel_young_loss margin_ranking_loss multiclass_generalized_dice_loss "
    "multiclass_hinge_loss multiclass_perceptron_loss multiclass_sparsemax_loss ntxent pairwise_logistic_loss "
    "perceptron_loss poisson_nll_loss poly_loss_cross_entropy quantile_loss ranking_softmax_loss "
    "safe_softmax_cross_entropy sigmoid_focal_loss smooth_l1_loss softmax_focal_loss sparsemax sparsemax_loss "
    "squared_hinge_loss squared_log_error symmetric_absolute_percentage_error triplet_margin_loss tversky_loss",
    "tests/nn/test_more_losses.py has their definitions",
)
TABLE.exclude(
    "box_iou crop_boxes decode_boxes encode_boxes match_boxes non_max_suppression prior_boxes",
    "tests/nn/test_boxes.py compares them with loops",
)
TABLE.exclude(
    "init_batch_norm init_conv init_dense init_embedding init_group_norm init_gru init_layer_norm init_lstm "
    "init_multi_head_attention init_rms_norm",
    "random or constant parameters, tests/nn/test_initializers.py",
)
