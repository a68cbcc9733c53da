"""Layers against loops of their definitions; a step at a time equals all at once; dropouts keep their moments."""

import itertools
import math

import ml_dtypes
import numpy as np
import pytest
from scipy import special

import fdl
import fdl.numpy as fnp
from fdl import lax, nn, random, tree
from fdl.errors import RangeError, ShapeError

KEY = random.key(0)


def images(rank, rng, channels=4):
    return rng.normal(size=(2, *(7, 6, 5)[:rank], channels))


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_depthwise_and_separable_convolutions(rng, rank):
    """A channel at a time, by `conv`, which test_layers compares with a loop."""
    x, window = images(rank, rng), (3, 2, 3)[:rank]
    params = nn.init_depthwise_conv(KEY, 4, window, multiplier=2, dtype="float64")
    found = nn.depthwise_conv(params, x, strides=2, dilation=1)
    parts = [
        nn.conv(
            {"w": params["w"][..., 2 * c : 2 * c + 2], "b": params["b"][2 * c : 2 * c + 2]},
            x[..., c : c + 1],
            strides=2,
        )
        for c in range(4)
    ]
    np.testing.assert_allclose(found, np.concatenate(parts, -1), rtol=1e-9, atol=1e-12)
    params = nn.init_separable_conv(KEY, 4, 3, window, dtype="float64")
    deep = np.asarray(nn.depthwise_conv(params["depthwise"], x))
    w = np.asarray(params["pointwise"]["w"]).reshape(4, 3)
    np.testing.assert_allclose(nn.separable_conv(params, x), deep @ w, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_pools(rng, rank):
    x = images(rank, rng)
    space = tuple(range(1, rank + 1))
    np.testing.assert_allclose(nn.global_avg_pool(x), x.mean(space))
    np.testing.assert_allclose(nn.global_max_pool(x, keepdims=True), x.max(space, keepdims=True))
    norm = (nn.avg_pool(np.abs(x) ** 3, 2) * 2**rank) ** (1 / 3)
    np.testing.assert_allclose(nn.lp_pool(x, 2, 3.0), norm, rtol=1e-9)
    size = (3, 3, 2)[:rank]
    for pool, reduce in ((nn.adaptive_avg_pool, np.mean), (nn.adaptive_max_pool, np.max)):
        found = np.asarray(pool(x, size))
        assert found.shape == (2, *size, 4)
        for place in itertools.product(*map(range, size)):
            part = tuple(
                slice(i * n // k, math.ceil((i + 1) * n / k)) for i, n, k in zip(place, x.shape[1:], size, strict=False)
            )
            expected = reduce(x[(slice(None), *part)], axis=space)
            np.testing.assert_allclose(found[(slice(None), *place)], expected)
    with pytest.raises(ShapeError, match="pooling needs images"):
        nn.global_avg_pool(np.ones((2, 3)))
    mask = np.zeros(x.shape[:-1], bool)
    mask[0, :2] = True
    spoiled = np.where(mask[..., None], x, np.nan)
    np.testing.assert_allclose(nn.global_avg_pool(spoiled, mask=mask), [x[0, :2].reshape(-1, 4).mean(0), np.zeros(4)])
    assert np.isfinite(np.asarray(fdl.grad(lambda x: nn.lp_pool(x, 2).sum())(np.zeros_like(x)))).all()


def test_instance_norm_is_group_norm_of_single_channels(rng):
    x = images(2, rng)
    params = {"w": rng.normal(size=4), "b": rng.normal(size=4)}
    np.testing.assert_allclose(nn.instance_norm(params, x), nn.group_norm(params, x, 4), rtol=1e-9)
    unit = (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5)
    np.testing.assert_allclose(nn.instance_norm({}, x), unit, rtol=1e-9)


def test_local_response_norm(rng):
    x = rng.normal(size=(3, 8))
    for size in (3, 4):
        sums = [(x[:, max(c - size // 2, 0) : c - size // 2 + size] ** 2).sum(1) for c in range(8)]
        expected = x / (2.0 + 0.5 / size * np.stack(sums, 1)) ** 0.75
        np.testing.assert_allclose(nn.local_response_norm(x, size, alpha=0.5, k=2.0), expected, rtol=1e-9)


def test_weights_by_direction_and_length(rng):
    params = {"w": rng.normal(size=(3, 2, 4)), "b": np.ones(4)}
    split = nn.init_weight_norm(params)
    np.testing.assert_allclose(nn.weight_norm(split)["w"], params["w"], rtol=1e-6)
    longer = nn.weight_norm(split | {"g": 2 * split["g"], "v": 5 * split["v"]})["w"]
    np.testing.assert_allclose(longer, 2 * params["w"], rtol=1e-6)


def test_spectral_norm_finds_the_largest_singular_value_step_by_step(rng):
    params = {"w": rng.normal(size=(3, 3, 2, 5))}
    state = nn.init_spectral_norm(KEY, params)
    for _ in range(60):
        made, state = fdl.jit(lambda p, s: nn.spectral_norm(p, s, training=True))(params, state)
    largest = np.linalg.svd(params["w"].reshape(-1, 5))[1][0]
    np.testing.assert_allclose(made["w"], params["w"] / largest, rtol=1e-6)
    same, kept = nn.spectral_norm(params, state, training=False)
    np.testing.assert_allclose(same["w"], made["w"], rtol=1e-6)
    assert np.array_equal(kept["u"], state["u"])


def test_dropouts():
    x = fnp.ones((50, 40, 30))
    y = np.asarray(nn.feature_dropout(KEY, 0.25, x))
    assert (y == y[:, :1]).all() and abs(y[:, 0].mean() - 1) < 0.05
    y = np.asarray(nn.drop_path(KEY, 0.5, x))
    assert set(np.unique(y)) == {0, 2} and (y == y[:, :1, :1]).all()
    y = np.asarray(nn.dropout(KEY, 0.5, x, broadcast_axes=(0, -1)))
    assert (y == y[:1, :, :1]).all()
    z = random.normal(KEY, (60_000,))
    for y in (nn.alpha_dropout(random.key(1), 0.3, z), nn.gaussian_noise(random.key(1), 0.0, z)):
        assert abs(np.mean(y)) < 0.02 and abs(np.var(y) - 1) < 0.03
    y = np.asarray(nn.gaussian_dropout(KEY, 0.2, fnp.ones(60_000)))
    assert abs(y.mean() - 1) < 0.01 and abs(y.var() - 0.25) < 0.01
    assert np.asarray(nn.gaussian_noise(KEY, 2.0, fnp.zeros(60_000))).std() == pytest.approx(2, rel=0.02)
    for layer in (nn.feature_dropout, nn.alpha_dropout, nn.drop_path, nn.gaussian_dropout):
        with pytest.raises(RangeError, match="rate must be"):
            layer(KEY, 1.0, x)


def test_padding_ids_are_zeros_without_gradient(rng):
    table, ids = {"w": rng.normal(size=(5, 3))}, np.array([[1, 0], [4, 1]])
    found = np.asarray(nn.embedding(table, ids, padding_index=1))
    assert (found[ids == 1] == 0).all()
    np.testing.assert_allclose(found[ids != 1], table["w"][ids[ids != 1]])
    gradient = fdl.grad(lambda t: nn.embedding(t, ids, padding_index=1).sum())(table)["w"]
    assert np.asarray(gradient)[:, 0].tolist() == [1, 0, 0, 0, 1]


@pytest.mark.parametrize("mode", ["mean", "sum", "max"])
def test_bags(rng, mode):
    table, ids = rng.normal(size=(5, 3)), np.array([[1, 2, 2], [4, 0, 0], [0, 0, 0]])
    factors = rng.uniform(size=ids.shape)
    for i, found in enumerate(np.asarray(nn.embedding_bag({"w": table}, ids, mode=mode, padding_index=0))):
        rows = table[ids[i][ids[i] != 0]]
        np.testing.assert_allclose(found, getattr(rows, mode)(0) if len(rows) else np.zeros(3))
    if mode == "sum":
        found = nn.embedding_bag({"w": table}, ids, mode=mode, sample_weights=factors, mask=ids < 3)
        np.testing.assert_allclose(found, ((factors * (ids < 3))[..., None] * table[ids]).sum(1))
    np.testing.assert_allclose(nn.attend({"w": table}, table), table @ table.T)
    with pytest.raises(ValueError, match="'mean', 'sum' or 'max', got 'median'"):
        nn.embedding_bag({"w": table}, ids, mode="median")


def test_positions(rng):
    table = np.asarray(nn.sinusoidal_positions(50, 6))
    for i, j in itertools.product(range(50), range(3)):
        angle = i / 10_000 ** (2 * j / 6)
        np.testing.assert_allclose(table[i, 2 * j : 2 * j + 2], [math.sin(angle), math.cos(angle)], atol=1e-5)
    x = rng.normal(size=(2, 5, 3, 8))
    pairs = x[..., :4] + 1j * x[..., 4:]
    turned = pairs * np.exp(1j * np.arange(5)[:, None, None] * 10_000.0 ** (-np.arange(4) / 4))
    np.testing.assert_allclose(nn.rotary_embedding(x), np.concatenate([turned.real, turned.imag], -1), atol=1e-6)
    beside = nn.rotary_embedding(np.stack([pairs.real, pairs.imag], -1).reshape(x.shape), interleaved=True)
    np.testing.assert_allclose(np.asarray(beside)[..., 0::2], turned.real, atol=1e-6)
    half = np.asarray(nn.rotary_embedding(x, fraction=0.5))
    np.testing.assert_allclose(half[..., 4:], x[..., 4:])
    # What attention sees depends on differences of positions only.
    a, b = (np.asarray(nn.rotary_embedding(x, p + np.arange(5), base=100.0)) for p in (0, 1000))
    np.testing.assert_allclose(np.einsum("bqhd,bkhd->bhqk", a, a), np.einsum("bqhd,bkhd->bhqk", b, b), atol=1e-3)
    with pytest.raises(ShapeError, match="do not fit the tokens"):
        nn.rotary_embedding(x, np.arange(4))
    bias = np.asarray(nn.alibi_bias(8, 3, offset=1, keys=4))
    np.testing.assert_allclose(bias[0, :, 0], -(0.5 ** np.arange(1, 9))[:, None] * np.abs(1 - np.arange(4)))
    assert nn.alibi_bias(6, 2).shape == (1, 6, 2, 2)


def test_masks():
    assert np.array_equal(nn.causal_mask(3, 5, offset=2)[0, 0], np.tril(np.ones((3, 5), bool), 2))
    assert nn.combine_masks(None, None) is None
    assert nn.padding_mask(np.array([[2], [0]]), 3).shape == (2, 1, 3)


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("reverse", [False, True])
def test_lengths_are_as_if_each_sequence_stood_alone(rng, name, reverse):
    """Padding may hold NaN."""
    cell, params = getattr(nn, f"{name}_cell"), getattr(nn, f"init_{name}")(KEY, 3, 4, dtype="float64")
    xs, lengths = rng.normal(size=(3, 5, 3)), np.array([5, 2, 0])
    spoiled = np.where(np.arange(5)[:, None] < lengths[:, None, None], xs, np.nan)
    last, ys = fdl.jit(lambda xs, lengths: nn.rnn(cell, params, xs, lengths=lengths, reverse=reverse))(spoiled, lengths)
    for i, length in enumerate(lengths):
        carry = tree.map(lambda c: fnp.zeros((1, *c.shape[1:]), c.dtype), last)
        outputs = np.zeros((5, 4))
        for t in range(length)[:: -1 if reverse else 1]:
            carry, y = cell(params, carry, fnp.asarray(xs[i : i + 1, t]))
            outputs[t] = y[0]
        np.testing.assert_allclose(ys[i], outputs, rtol=1e-9)
        for found, expected in zip(tree.leaves(last), tree.leaves(carry), strict=True):
            np.testing.assert_allclose(found[i], expected[0], rtol=1e-9)
    if not reverse:
        np.testing.assert_allclose(nn.last_outputs(ys, lengths), tree.leaves(last)[0], rtol=1e-9)
    gradient = fdl.grad(lambda x: nn.rnn(cell, params, x, lengths=lengths)[1].sum())(spoiled)
    assert np.isfinite(np.asarray(gradient)).all()


def test_directions_and_layers(rng):
    xs, lengths = rng.normal(size=(2, 5, 3)), np.array([5, 3])
    both = {
        d: nn.init_gru(k, 3, 4, dtype="float64")
        for d, k in zip(("forward", "backward"), random.split(KEY), strict=True)
    }
    (first, second), ys = nn.bidirectional_rnn(nn.gru_cell, both, xs, lengths=lengths)
    ahead = nn.rnn(nn.gru_cell, both["forward"], xs, lengths=lengths)
    back = nn.rnn(nn.gru_cell, both["backward"], xs, lengths=lengths, reverse=True)
    np.testing.assert_allclose(ys, np.concatenate([ahead[1], back[1]], -1))
    np.testing.assert_allclose([first, second], [ahead[0], back[0]])
    top = nn.init_gru(KEY, 8, 2, dtype="float64")
    _, ys = nn.stacked_rnn(nn.gru_cell, [both, top], xs, lengths=lengths, between=lambda number, y: 2 * y)
    below = nn.bidirectional_rnn(nn.gru_cell, both, xs, lengths=lengths)[1]
    np.testing.assert_allclose(ys, nn.rnn(nn.gru_cell, top, 2 * below, lengths=lengths)[1])
    with pytest.raises(ShapeError, match="lengths i64"):
        nn.rnn(nn.gru_cell, top, below, lengths=np.array([1]))
    with pytest.raises(ValueError, match="first carry of <lambda>"):
        nn.rnn(lambda p, c, x: (c, x), top, below)


def test_conv_lstm_with_a_window_of_one_is_an_lstm_at_every_point(rng):
    params = nn.init_conv_lstm(KEY, 3, 2, (1, 1), dtype="float64")
    x, (h, c) = rng.normal(size=(2, 4, 5, 3)), rng.normal(size=(2, 2, 4, 5, 2))
    plain = {"wx": params["wx"][0, 0], "wh": params["wh"][0, 0], "b": params["b"]}
    carry = fnp.asarray(h), fnp.asarray(c)
    (found, memory), _ = nn.conv_lstm_cell(params, carry, x)
    (hidden, cell), _ = nn.lstm_cell(plain, carry, x)
    np.testing.assert_allclose(found, hidden, rtol=1e-9)
    np.testing.assert_allclose(memory, cell, rtol=1e-9)
    params, xs = nn.init_conv_lstm(KEY, 3, 2, (3, 3)), np.ones((2, 3, 4, 5, 3), np.float32)
    _, ys = nn.rnn(nn.conv_lstm_cell, params, xs, nn.conv_lstm_carry(2, (4, 5), 2))
    assert ys.shape == (2, 3, 4, 5, 2)


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
def test_grouped_heads_are_repeated_keys(rng, kv_heads):
    params = nn.init_multi_head_attention(KEY, 8, 4, kv_heads=kv_heads, dtype="float64")
    x = rng.normal(size=(2, 5, 8))

    def repeated(layer):
        w = np.asarray(layer["w"]).reshape(8, kv_heads, 2).repeat(4 // kv_heads, 1).reshape(8, 8)
        return {"w": w, "b": np.asarray(layer["b"]).reshape(kv_heads, 2).repeat(4 // kv_heads, 0).ravel()}

    whole = params | {name: repeated(params[name]) for name in ("key", "value")}
    found = nn.multi_head_attention(params, x, heads=4, is_causal=True)
    np.testing.assert_allclose(found, nn.multi_head_attention(whole, x, heads=4, is_causal=True), rtol=1e-9)
    with pytest.raises(ShapeError, match="3 heads of keys do not divide 4 heads"):
        nn.init_multi_head_attention(KEY, 8, 4, kv_heads=3)


@pytest.mark.parametrize("cross", [False, True])
def test_decoding_step_by_step_is_the_causal_pass(rng, cross):
    """In a scan, with rotary positions, grouped heads, and several tokens in the first step."""
    blocks = [
        nn.init_transformer_block(k, 8, 4, kv_heads=2, gated=True, norm="rms", cross=cross, dtype="float64")
        for k in random.split(KEY, 2)
    ]
    x, context = rng.normal(size=(2, 7, 8)), rng.normal(size=(2, 3, 8)) if cross else None
    expected = nn.transformer(blocks, x, context, heads=4, is_causal=True, rotary=True)
    caches = nn.transformer_caches(blocks, 2, 9, heads=4)
    first, caches = nn.transformer(blocks, x[:, :3], context, heads=4, rotary=True, caches=caches)

    def step(caches, token):
        y, caches = nn.transformer(blocks, token[:, None], context, heads=4, rotary=True, caches=caches)
        return caches, y[:, 0]

    caches, rest = lax.scan(step, caches, np.swapaxes(x[:, 3:], 0, 1))
    np.testing.assert_allclose(first, np.asarray(expected)[:, :3], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(np.swapaxes(rest, 0, 1), np.asarray(expected)[:, 3:], rtol=1e-6, atol=1e-9)
    full, _ = nn.transformer(blocks, x[:, :3], context, heads=4, rotary=True, caches=caches)  # two tokens too many
    assert np.isnan(np.asarray(full)).all()


def test_a_block_of_an_encoder_is_its_parts(rng):
    params = nn.init_transformer_block(KEY, 8, 2, hidden=16, dtype="float64")
    x, mask = rng.normal(size=(2, 5, 8)), nn.padding_mask(np.array([5, 3]), 5)[:, None, None]
    y = x + nn.multi_head_attention(params["attention"], nn.layer_norm(params["norm1"], x), heads=2, mask=mask)
    expected = y + nn.mlp(params["mlp"], nn.layer_norm(params["norm2"], y), nn.gelu)
    np.testing.assert_allclose(nn.transformer_block(params, x, heads=2, mask=mask), expected, rtol=1e-9)
    y = nn.layer_norm(params["norm1"], x + nn.multi_head_attention(params["attention"], x, heads=2))
    expected = nn.layer_norm(params["norm2"], y + nn.mlp(params["mlp"], y, nn.relu))
    found = nn.transformer_block(params, x, heads=2, norm_first=False, activation=nn.relu)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    changed = np.where(np.arange(5)[:, None] >= np.array([5, 3])[:, None, None], 7.0, x)  # padding is not seen
    a, b = (np.asarray(nn.transformer_block(params, v, heads=2, mask=mask)) for v in (x, changed))
    np.testing.assert_allclose(a[1, :3], b[1, :3])
    dropped = nn.transformer_block(params, x, heads=2, rate=0.5, key=KEY)
    assert np.abs(np.asarray(dropped) - np.asarray(nn.transformer_block(params, x, heads=2))).max() > 0.01
    with pytest.raises(ValueError, match="if, and only if, its parameters have 'cross'"):
        nn.transformer_block(params, x, x, heads=2)


def test_perceptrons_and_gates(rng):
    x = rng.normal(size=(2, 4, 4, 8))
    p = nn.init_gated_mlp(KEY, 8, 6, dtype="float64")
    gate, up, down = (np.asarray(p[name]["w"]) for name in ("gate", "up", "down"))
    np.testing.assert_allclose(nn.gated_mlp(p, x), ((x @ gate) * special.expit(x @ gate) * (x @ up)) @ down, rtol=1e-9)
    p = nn.init_squeeze_excite(KEY, 8, ratio=2, dtype="float64")
    inner = np.maximum(x.mean((1, 2)) @ np.asarray(p["squeeze"]["w"]), 0)
    gates = special.expit(inner @ np.asarray(p["excite"]["w"]))
    np.testing.assert_allclose(nn.squeeze_excite(p, x), x * gates[:, None, None], rtol=1e-9)
    p = nn.init_bilinear(KEY, 8, 8, 3, dtype="float64")
    np.testing.assert_allclose(nn.bilinear(p, x, x), np.einsum("...i,...j,ijk->...k", x, x, p["w"]), rtol=1e-9)


def block():
    return nn.init_transformer_block(KEY, 8, 2, dtype="float64")


LAYERS = {
    "adaptive_avg_pool": lambda x: nn.adaptive_avg_pool(x, 3),
    "attention": lambda x: nn.transformer_block(block(), x, heads=2, is_causal=True, rotary=True),
    "depthwise": lambda x: nn.depthwise_conv(nn.init_depthwise_conv(KEY, 8, (3,)), x),
    "instance_norm": lambda x: nn.instance_norm(nn.init_instance_norm(8), x),
    "local_response_norm": lambda x: nn.local_response_norm(x),
    "lp_pool": lambda x: nn.lp_pool(x, 2),
    "rnn": lambda x: nn.rnn(nn.gru_cell, nn.init_gru(KEY, 8, 4), x, lengths=np.array([4, 2]))[1],
    "separable": lambda x: nn.separable_conv(nn.init_separable_conv(KEY, 8, 4, (3,)), x),
    "spectral_norm": lambda x: nn.dense(
        nn.spectral_norm(p := nn.init_dense(KEY, 8, 4), nn.init_spectral_norm(KEY, p), training=True)[0], x
    ),
    "squeeze_excite": lambda x: nn.squeeze_excite(nn.init_squeeze_excite(KEY, 8), x),
    "rotary": lambda x: nn.rotary_embedding(x[:, :, None]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_compiled_mapped_and_differentiated(rng, name):
    layer, x = LAYERS[name], rng.normal(size=(2, 4, 8))
    expected = np.asarray(layer(x))
    np.testing.assert_allclose(fdl.jit(layer)(x), expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(fdl.vmap(layer)(np.stack([x, 2 * x])), [expected, layer(2 * x)], rtol=1e-5, atol=1e-7)
    direction, step = rng.normal(size=x.shape), 1e-6
    weight = rng.normal(size=expected.shape)
    slope = ((layer(x + step * direction) - layer(x - step * direction)) * weight).sum() / (2 * step)
    gradient = fdl.grad(lambda x: (layer(x) * weight).sum())(x)
    np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-4, atol=1e-5)
    narrow = layer(fnp.asarray(x.astype(ml_dtypes.bfloat16)))
    np.testing.assert_allclose(np.asarray(narrow, float), expected, rtol=0.1, atol=0.1)


def test_summary():
    made = nn.summary({"a": fdl.ShapeDtypeStruct((2, 3), "bfloat16"), "b": [np.zeros(4), fnp.zeros(())]})
    assert (made.count, made.bytes) == (11, 12 + 32 + 4)
    assert repr(made).splitlines()[2].split() == ["a", "[2,", "3]", "bfloat16", "6", "12"]
    assert [row.path for row in made.rows] == ["a", "b/0", "b/1"]
    assert "<td" in made._repr_html_() and "b/1" in made._repr_html_()
    assert "&lt;" in nn.summary({"<b>": np.zeros(1)})._repr_html_()
