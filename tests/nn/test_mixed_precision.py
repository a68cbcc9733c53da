"""Mixed precision: products of 16 bits within functions of float32, loss scales, policies."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, nn, optim, random
from fdl.core.program import subprograms
from fdl.dtypes import bfloat16
from fdl.errors import DtypeError, TreeError

RANDOM = np.random.default_rng(0)


def normal(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def rounded(x):
    return np.asarray(x).astype(bfloat16).astype(np.float64)


def operations(program):
    for equation in program.equations:
        yield equation
        for inner in subprograms(equation.operation):
            yield from operations(inner)


def products(f, *args):
    """The dtypes of all products and convolutions."""
    found = operations(fdl.make_program(f)(*args))
    return [e.inputs[0].type.dtype.name for e in found if e.operation.name in ("dot_general", "conv_general")]


def perceptron(params, x):
    h = nn.relu(nn.dense(params["hidden"], x))
    return nn.dense(params["out"], h)


PARAMS = {"hidden": nn.init_dense(random.key(0), 12, 16), "out": nn.init_dense(random.key(1), 16, 4)}
X = normal(5, 12)


def by_hand(params, x):
    """`perceptron` in float64, rounded where mixed precision rounds."""
    wide = fdl.tree.map(lambda p: np.asarray(p, np.float64), params)
    h = rounded(rounded(x) @ rounded(wide["hidden"]["w"])) + wide["hidden"]["b"]
    return rounded(rounded(np.maximum(h, 0)) @ rounded(wide["out"]["w"])) + wide["out"]["b"]


@pytest.mark.parametrize("transform", [lambda f: f, fdl.jit, fdl.checkpoint], ids=["eager", "jit", "checkpoint"])
def test_products_are_those_of_rounded_operands(transform):
    made = transform(nn.mixed_precision(perceptron))(PARAMS, X)
    assert made.dtype == np.float32
    # A sum in float32 may round to the other neighbour.
    np.testing.assert_allclose(made, by_hand(PARAMS, X), rtol=2**-7, atol=1e-5)
    assert np.abs(made - perceptron(PARAMS, X)).max() > 1e-5


def test_a_product_alone_is_rounded_once():
    x, y = normal(7, 33), normal(33, 9)
    made = np.asarray(fdl.jit(nn.mixed_precision(fnp.matmul))(x, y))
    np.testing.assert_array_equal(made, rounded(made))
    np.testing.assert_allclose(made, rounded(x) @ rounded(y), rtol=2**-8, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_gradients_before_and_after(dtype):
    def loss(params, x):
        return fnp.mean(nn.softmax(perceptron(params, x)) ** 2)

    expected = fdl.grad(loss)(PARAMS, X)
    mixed = nn.mixed_precision(loss, dtype)
    for found in (fdl.grad(mixed)(PARAMS, X), fdl.jit(nn.mixed_precision(fdl.grad(loss), dtype))(PARAMS, X)):
        for a, b in zip(fdl.tree.leaves(expected), fdl.tree.leaves(found), strict=True):
            assert b.dtype == np.float32
            np.testing.assert_allclose(b, a, atol=0.03 * np.abs(a).max())
    assert set(products(fdl.grad(mixed), PARAMS, X)) == {dtype}
    assert len(products(fdl.grad(mixed), PARAMS, X)) == 5


def test_what_is_kept_for_the_backward_pass_has_16_bits():
    def net(params, x):
        h = nn.relu(nn.conv(params[0], x))
        h = nn.max_pool(nn.relu(nn.conv(params[1], h)), 2)
        return fnp.sum(nn.conv(params[2], h) ** 2)

    keys = random.split(random.key(0), 3)
    params = [nn.init_conv(key, n, 8, (3, 3)) for key, n in zip(keys, (3, 8, 8), strict=True)]
    x = normal(2, 8, 8, 3)
    _, pull = fdl.vjp(nn.mixed_precision(net), params, x)
    small = [leaf for leaf in fdl.tree.leaves(pull) if leaf.dtype == bfloat16 and leaf.size > 512]
    large = [leaf for leaf in fdl.tree.leaves(pull) if leaf.dtype == np.float32 and leaf.size > 600 and np.any(leaf)]
    assert len(small) >= 2
    assert not large


def test_norms_and_losses_get_float32():
    def f(x, w):
        y = x @ w
        return nn.log_softmax(y), nn.rms_norm(nn.init_rms_norm(4), y), fnp.sum(y), fnp.exp(y)

    for equation in operations(fdl.make_program(nn.mixed_precision(f))(X, normal(12, 4))):
        if equation.operation.name in ("exp", "log", "sum", "sub", "div", "mul", "integer_pow", "rsqrt"):
            assert {a.type.dtype for a in equation.inputs} == {np.dtype(np.float32)}


def test_what_moves_and_chooses_stays_narrow():
    def f(x, w):
        y = fnp.maximum(x @ w, 0).reshape(2, 2, 5)[:, ::-1].swapaxes(0, 1)
        return fnp.concatenate([y, -y]) @ fnp.ones((5, 3))

    found = fdl.make_program(nn.mixed_precision(f))(normal(4, 12), normal(12, 5))
    assert not any(e.operation.name == "convert" and e.inputs[0].type.dtype == bfloat16 for e in found.equations[:-1])
    assert (
        fdl.make_program(nn.mixed_precision(lambda x: fnp.maximum(x @ x, 0.1)))(normal(3, 3)).equations[-1] is not None
    )
    # 0.1 is no bfloat16: the maximum with it is one of float32.
    (made,) = np.unique(nn.mixed_precision(lambda x: fnp.maximum(x @ x, np.float32(0.1)))(fnp.zeros((2, 2))))
    assert made == np.float32(0.1)


def recurrent(w, xs):
    def step(h, x):
        h = fnp.tanh(x + h @ w)
        return h, h

    return lax.scan(step, fnp.zeros((3, 8)), xs)


def test_loops_keep_their_carries():
    w, xs = normal(8, 8) / 3, normal(6, 3, 8)
    mixed = fdl.jit(nn.mixed_precision(recurrent))
    (last, ys), (_, ys32) = mixed(w, xs), recurrent(w, xs)
    assert last.dtype == ys.dtype == np.float32
    np.testing.assert_allclose(ys, ys32, atol=0.03)
    assert products(nn.mixed_precision(recurrent), w, xs) == ["bfloat16"]

    def loss(f):
        return fdl.jit(fdl.grad(lambda w: fnp.sum(f(w, xs)[1] ** 2)))(w)

    exact, found = loss(recurrent), loss(nn.mixed_precision(recurrent))
    np.testing.assert_allclose(found, exact, atol=0.03 * np.abs(exact).max())


def test_branches_and_while_loops():
    w, x = normal(4, 4) / 2, normal(4, 4)

    def f(w, x, n):
        y = lax.cond(n > 0, lambda x: x @ w, lambda x: x, x)
        return lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, s[1] @ w), (0, y))[1]

    assert products(nn.mixed_precision(f), w, x, 1) == ["bfloat16", "bfloat16"]
    exact = f(w, x, 1)
    np.testing.assert_allclose(fdl.jit(nn.mixed_precision(f))(w, x, 1), exact, atol=0.02 * np.abs(exact).max())


def test_checkpoints_stay():
    def f(w, x):
        return fnp.sum(fdl.checkpoint(lambda x: fnp.tanh(x @ w) @ w)(x @ w))

    w, x = normal(4, 4), normal(3, 4)
    program = fdl.make_program(nn.mixed_precision(f))(w, x)
    (inner,) = [e for e in program.equations if e.operation.name == "remat"]
    assert any(v.type.dtype == bfloat16 for v in inner.inputs)
    exact = fdl.grad(f)(w, x)
    np.testing.assert_allclose(fdl.grad(nn.mixed_precision(f))(w, x), exact, atol=0.1 * np.abs(exact).max())


def test_batching_gives_what_each_example_gives():
    w, xs = normal(6, 4), normal(5, 3, 6)
    mixed = nn.mixed_precision(lambda x: nn.softmax(x @ w))
    np.testing.assert_allclose(fdl.vmap(mixed)(xs), [mixed(x) for x in xs], rtol=1e-6)


def test_full_precision_inside_of_mixed():
    def f(x, w):
        return nn.mixed_precision(fnp.matmul, "float32")(x, w) + x @ w

    x, w = normal(4, 4), normal(4, 4)
    assert sorted(products(nn.mixed_precision(f), x, w)) == ["bfloat16", "float32"]
    assert sorted(set(products(nn.mixed_precision(fdl.grad(lambda w: fnp.sum(f(x, w) ** 2))), w))) == [
        "bfloat16",
        "float32",
    ]
    alone = nn.mixed_precision(fnp.matmul, "float32")
    np.testing.assert_array_equal(fdl.jit(fdl.vmap(alone))(x[None], w[None])[0], fdl.jit(fnp.matmul)(x, w))
    for tangents in (fdl.jvp(alone, (x, w), (w, x)), fdl.linearize(alone, x, w)[1](w, x)):
        tangent = tangents[1] if isinstance(tangents, tuple) else tangents
        np.testing.assert_allclose(tangent, w @ w + x @ x, rtol=1e-4, atol=1e-5)


def test_what_is_left_alone():
    wide = normal(3, 3).astype(np.float64)
    assert products(nn.mixed_precision(lambda x: x @ x), wide) == ["float64"]
    summed = nn.mixed_precision(
        lambda x: lax.dot(x.astype("bfloat16"), x.astype("bfloat16"), preferred_element_type="float32")
    )
    assert fdl.make_program(summed)(wide).output_types[0].dtype == np.float32

    @fdl.custom_vjp
    def own(x):
        return x @ x

    own.defvjp(lambda x: (own(x), x), lambda x, g: (7 * g,))
    x = normal(3, 3)
    assert fdl.grad(nn.mixed_precision(lambda x: fnp.sum(own(x))))(x).tolist() == np.full((3, 3), 7.0).tolist()


def test_arguments_that_are_no_arrays():
    def f(params, x, *, training, name="a"):
        return {"y": x @ params if training and name == "a" else x, "n": 3}

    made = nn.mixed_precision(f)(normal(4, 4), normal(2, 4), training=True)
    assert sorted(made) == ["n", "y"]
    with pytest.raises(DtypeError, match="compute='float64'"):
        nn.mixed_precision(f, "float64")
    with pytest.raises(TypeError, match="needs a function as fun"):
        nn.mixed_precision(3)


def test_gradients_of_a_weight_that_is_used_often_add_up_in_float32():
    # 256 and 1, summed in bfloat16, are 256.
    def f(w):
        return fnp.sum(fnp.full((1, 1), 256.0) @ w) + fnp.sum(fnp.ones((1, 1)) @ w)

    assert fdl.grad(nn.mixed_precision(f))(fnp.ones((1, 1))).item() == 257


def test_a_loss_scale_follows_overflows():
    scale = nn.DynamicLossScale(4.0, period=2, min_loss_scale=2.0)
    seen = []
    for finite in (True, True, True, False, False, True):
        scale = fdl.jit(lambda s, f: s.adjust(f))(scale, finite)
        seen.append((scale.loss_scale.item(), scale.counter.item()))
    assert seen == [(4.0, 1), (8.0, 0), (8.0, 1), (4.0, 0), (2.0, 0), (2.0, 1)]
    assert nn.DynamicLossScale(2.0).adjust(False).adjust(False).loss_scale.item() == 1.0
    largest = nn.DynamicLossScale(2.0**127, period=1).adjust(True)
    assert largest.loss_scale.item() == 2.0**127
    tree = {"w": fnp.ones(2, "float16"), "n": fnp.arange(2)}
    for one in (nn.StaticLossScale(8.0), nn.DynamicLossScale(8.0)):
        assert one.scale(tree)["w"].tolist() == [8.0, 8.0]
        assert one.unscale(one.scale(tree))["w"].tolist() == [1.0, 1.0]
        assert one.scale(tree)["n"].tolist() == [0, 1]
        assert one.scale(tree)["w"].dtype == np.float16
    assert nn.NoOpLossScale().unscale(tree) is tree
    assert nn.NoOpLossScale().loss_scale == 1
    with pytest.raises(TreeError, match="one structure"):
        nn.select_tree(True, [1.0], (1.0,))


def test_policies():
    policy = nn.get_policy("p=f32, c=f16")
    assert (policy.param_dtype, policy.compute_dtype, policy.output_dtype) == (np.float32, np.float16, np.float32)
    assert nn.get_policy(str(policy)) == policy
    assert nn.get_policy("bfloat16").with_output_dtype("float32").cast_to_param(fnp.ones(1)).dtype == bfloat16
    made = policy.cast_to_compute({"x": fnp.ones(1), "n": fnp.arange(2), "k": 2.0, "s": "text"})
    assert made["x"].dtype == np.float16
    assert made["n"].dtype == np.int32
    assert (made["k"], made["s"]) == (2.0, "text")
    for text in ("compute", "c=int9", "c=bf16,compute=f32", "x=f32"):
        with pytest.raises(ValueError, match="get_policy"):
            nn.get_policy(text)
    with pytest.raises(DtypeError, match="compute_dtype='int8'"):
        nn.Policy(compute_dtype="int8")


def test_training_converges_as_in_float32():
    """Two clouds of points: the losses of both precisions part by less than those of two seeds."""
    labels = RANDOM.integers(0, 4, 256)
    x = normal(256, 12) + 2 * normal(4, 12)[labels]

    def train(function, seed):
        keys = random.split(random.key(seed), 2)
        params = {"hidden": nn.init_dense(keys[0], 12, 16), "out": nn.init_dense(keys[1], 16, 4)}
        optimizer = optim.adam(0.01)

        def step(carry, _):
            params, state = carry
            value, grads = fdl.value_and_grad(function)(params)
            updates, state = optimizer.update(grads, state, params)
            return (optim.apply_updates(params, updates), state), value

        return np.asarray(fdl.jit(lambda p: lax.scan(step, (p, optimizer.init(p)), None, length=60)[1])(params))

    def loss(params):
        return nn.softmax_cross_entropy_with_integer_labels(perceptron(params, x), labels, reduction="mean")

    exact, other, mixed = train(loss, 0), train(loss, 1), train(nn.mixed_precision(loss), 0)
    assert exact[-1] < exact[0] / 4
    assert np.abs(mixed - exact).max() < np.abs(other - exact).max() / 4


def test_norms_keep_nothing_of_32_bits_in_compiled_steps():
    """What a norm makes of a product of 16 bits is computed again in the backward pass, rather than stored."""

    def net(params, x):
        for p in params:
            y = nn.conv(p, x)
            y = (y - fnp.mean(y, (0, 1, 2))) / fnp.sqrt(fnp.var(y, (0, 1, 2)) + 1e-5)
            x = nn.relu(y)
        return fnp.sum(x**2)

    params = [nn.init_conv(key, 8, 8, (3, 3), bias=False) for key in random.split(random.key(0), 3)]
    x = np.random.default_rng(5).standard_normal((4, 16, 16, 8)).astype(np.float32)

    def memory(f):
        text = fdl.jit(fdl.grad(f)).lower(params, x).as_text("schedule")
        return int(text.split(" bytes")[0].split()[-1])

    assert memory(nn.mixed_precision(net)) < 0.6 * memory(net)
    found, exact = (fdl.jit(fdl.grad(f))(params, x) for f in (nn.mixed_precision(net), net))
    for a, b in zip(fdl.tree.leaves(found), fdl.tree.leaves(exact), strict=True):
        assert np.linalg.norm(a - b) < 0.2 * np.linalg.norm(b)
