"""Work moved out of loops: how much is left in the bodies, and that the numbers are those of a Python loop."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, nn
from fdl.compile.kernels.matmul.prepacked import PrepackedProduct
from fdl.compile.passes.hoisting.residuals import minimum_cut
from fdl.compile.passes.order import prepared
from fdl.core.program import Equation, Var, subprograms
from fdl.core.types import TensorType
from fdl.ops.contract import DotGeneral
from fdl.ops.conv import ConvGeneral
from fdl.ops.elementwise import Add, Mul
from fdl.ops.shape import BroadcastInDim
from fdl.ops.transcendental import Exp
from tests.api.check import assert_close

STEPS, BATCH, SIZE = 5, 2, 3

#: Products of matrices, as they are and with one that was packed before the loop.
PRODUCTS = (DotGeneral, PrepackedProduct)


def bodies(program):
    """The bodies of all scans of a prepared Program, outermost first."""
    for equation in program.equations:
        for inner in subprograms(equation.operation):
            inner = prepared(inner)
            if equation.operation.name in ("scan", "while"):
                yield inner
            yield from bodies(inner)


def compiled(function, *args):
    return prepared(fdl.make_program(function)(*args))


def count(program, *operations):
    return sum(isinstance(e.operation, operations) for e in program.equations)


def python_scan(f, carry, xs, reverse=False):
    ys = [None] * len(xs)
    for n in range(len(xs))[:: -1 if reverse else 1]:
        carry, ys[n] = f(carry, xs[n])
    return carry, fnp.stack(ys)


def weights(rng, *shapes):
    return [fnp.asarray(rng.normal(size=s) / 2) for s in shapes]


def one_layer(scan, reverse=False):
    def run(w, u, x):
        def step(h, v):
            h = fnp.tanh(v @ w + h @ u)
            return h, h * 2

        return scan(step, fnp.zeros((BATCH, SIZE), "float64"), x, reverse=reverse)

    return run


def two_layers(scan, reverse=False):
    def run(w, u, x):
        def step(carry, v):
            h, g = carry
            h = fnp.tanh(v @ w + h @ u)
            g = fnp.sin(fnp.tanh(h) @ u + g @ w)
            return (h, g), g

        zeros = fnp.zeros((BATCH, SIZE), "float64")
        return scan(step, (zeros, zeros), x, reverse=reverse)

    return run


def readout(scan, reverse=False):
    def run(w, u, x):
        def step(h, v):
            h = fnp.cos(h @ u) + v
            return h, fnp.exp(-fnp.abs(h @ w)).sum(axis=1) + v[:, 0]

        return scan(step, fnp.ones((BATCH, SIZE), "float64"), x, reverse=reverse)

    return run


def tangled(scan, reverse=False):
    """A product that depends on its own result in earlier steps, carries that change places, one that stays."""

    def run(w, u, x):
        def step(carry, v):
            a, b, c = carry
            return (b + v, fnp.sin(a @ (w @ u)) + c, c), (fnp.exp(w)[0] * v, w, v, v)[0]

        ones = fnp.ones((BATCH, SIZE), "float64")
        return scan(step, (ones, ones * 2, ones * 3), x, reverse=reverse)

    return run


def totals(scan, reverse=False):
    """Sums that leave the loop, and some that look like those but are read in it."""

    def run(w, u, x):
        def step(carry, v):
            total, seen, count = carry
            total = total + (v.T @ (v @ w) - (v.T @ v).T.reshape(3, 3))
            seen = seen + v.T @ v
            return (total, seen, count + v.sum(axis=0)), seen @ u

        square = fnp.zeros((SIZE, SIZE), "float64")
        return scan(step, (square + 1, square, fnp.zeros(SIZE, "float64")), x, reverse=reverse)

    return run


CASES = [one_layer, two_layers, readout, tangled, totals]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_numbers_and_gradients(case, reverse, rng):
    w, u, x = weights(rng, (SIZE, SIZE), (SIZE, SIZE), (STEPS, BATCH, SIZE))

    def losses(scan):
        run = case(scan, reverse)

        def loss(w, u, x):
            last, ys = run(w, u, x)
            return sum((fnp.sin(leaf) * 3).sum() for leaf in fdl.tree.leaves((last, ys)))

        return run, loss

    (run, loss), (plain, plain_loss) = losses(lax.scan), losses(python_scan)
    assert_close(fdl.jit(run)(w, u, x), plain(w, u, x))
    grad = fdl.grad(loss, (0, 1, 2))
    expected = fdl.grad(plain_loss, (0, 1, 2))(w, u, x)
    assert_close(fdl.jit(grad)(w, u, x), expected)
    assert_close(grad(w, u, x), expected)
    batch = fnp.stack([x, x * 0.5])
    found = fdl.jit(fdl.vmap(grad, (None, None, 0)))(w, u, batch)
    assert_close(fdl.tree.map(lambda g: g[0], found), expected)
    tangents = (w, u, x)
    second = fdl.jit(lambda *p: fdl.jvp(grad, p, tangents)[1])(w, u, x)
    assert_close(second, fdl.jvp(fdl.grad(plain_loss, (0, 1, 2)), (w, u, x), tangents)[1])


def test_a_layer_keeps_one_product_a_step(rng):
    w, u, x = weights(rng, (SIZE, SIZE), (SIZE, SIZE), (STEPS, BATCH, SIZE))
    for case, loops in ((one_layer, 1), (two_layers, 2)):
        program = compiled(case(lax.scan), w, u, x)
        assert [count(b, *PRODUCTS) for b in bodies(program)] == [1] * loops
        gradient = compiled(fdl.grad(lambda *p, case=case: case(lax.scan)(*p)[1].sum(), (0, 1, 2)), w, u, x)
        assert [count(b, *PRODUCTS) for b in bodies(gradient)] == [1] * (2 * loops)


def test_products_of_long_steps_stay_where_their_operands_are(rng):
    w, u = weights(rng, (SIZE, SIZE), (SIZE, SIZE))
    x = fnp.ones((STEPS, 50, SIZE), "float64")

    def run(w, u, x):
        return lax.scan(lambda h, v: (fnp.tanh(v @ w + h @ u), None), fnp.zeros((50, SIZE), "float64"), x)

    (body,) = bodies(compiled(run, w, u, x))
    assert count(body, *PRODUCTS) == 2


def test_invariants_are_computed_once(rng):
    w, x = weights(rng, (SIZE, SIZE), (STEPS, SIZE))

    def scanned(w, x):
        return lax.scan(lambda c, v: (c * fnp.exp(w @ w) + v, None), fnp.ones((SIZE, SIZE), "float64"), x)[0]

    def repeated(w, x):
        def step(s):
            return s[0] + 1, s[1] * fnp.exp(w @ w)

        return lax.while_loop(lambda s: s[0] < STEPS, step, (0, w))[1]

    for run in (scanned, repeated):
        program = compiled(run, w, x)
        assert [e.operation.name for e in program.equations if e.operation.name in ("exp", "dot_general")] == [
            "dot_general",
            "exp",
        ]
        *_, body = bodies(program)
        assert count(body, *PRODUCTS) == 0
        assert "exp" not in [e.operation.name for e in body.equations]
        assert_close(fdl.jit(run)(w, x), run(w, x))


def test_nested_loops(rng):
    w, x = weights(rng, (SIZE, SIZE), (STEPS, BATCH, SIZE))

    def run(w, x):
        def outer(c, v):
            inner = lax.scan(lambda d, _: (fnp.tanh(d @ fnp.exp(w)) + v, None), c, None, length=3)[0]
            return inner, inner.sum()

        return lax.scan(outer, fnp.zeros((BATCH, SIZE), "float64"), x)

    program = compiled(run, w, x)
    assert "exp" in [e.operation.name for e in program.equations]
    assert all("exp" not in [e.operation.name for e in body.equations] for body in bodies(program))
    carry, ys = np.zeros((BATCH, SIZE)), []
    for v in np.asarray(x):
        for _ in range(3):
            carry = np.tanh(carry @ np.exp(np.asarray(w))) + v
        ys.append(carry.sum())
    assert_close(fdl.jit(run)(w, x), (carry, np.array(ys)))


def test_checkpointed_steps_are_not_unrolled_in_memory(rng):
    w, u, x = weights(rng, (SIZE, SIZE), (SIZE, SIZE), (STEPS, BATCH, SIZE))

    def loss(w, u, x):
        cell = fdl.checkpoint(lambda h, v: fnp.tanh(fnp.sin(v @ w) @ w + h @ u))
        return lax.scan(lambda h, v: (cell(h, v), None), fnp.zeros((BATCH, SIZE), "float64"), x)[0].sum()

    *_, backward = bodies(compiled(fdl.grad(loss, (0, 1)), w, u, x))
    assert count(backward, *PRODUCTS) > 4


def test_convolutions(rng):
    w, x = weights(rng, (3, 3, 8, 8), (STEPS, 1, 4, 4, 8))

    def run(scan):
        def loss(w, x):
            def step(h, v):
                same = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": ("NHWC", "HWIO", "NHWC")}
                h = fnp.tanh(lax.conv_general_dilated(v, w, **same) + lax.conv_general_dilated(h, w[::-1], **same))
                return h, h

            return scan(step, fnp.zeros(x.shape[1:], "float64"), x)[1].sum()

        return loss

    grad = fdl.grad(run(lax.scan), (0, 1))
    assert_close(fdl.jit(grad)(w, x), fdl.grad(run(python_scan), (0, 1))(w, x))
    assert [count(b, ConvGeneral) for b in bodies(compiled(grad, w, x))] == [1, 1]


def test_effects_keep_their_place(rng, capfd):
    (x,) = weights(rng, (STEPS, BATCH))

    def run(x):
        def step(c, v):
            fdl.debug.callback(lambda c: print(int(c)), c)
            return c + 1, v * 2

        return lax.scan(step, 0, x)

    assert_close(fdl.jit(run)(x), (STEPS, 2 * np.asarray(x)))
    assert capfd.readouterr().out.split() == list("01234")


@pytest.mark.parametrize("length", [0, 1, 2])
def test_few_steps(length, rng):
    w, u, x = weights(rng, (SIZE, SIZE), (SIZE, SIZE), (2, BATCH, SIZE))
    run = fdl.jit(lambda w, u, x: two_layers(lax.scan)(w, u, x)[0])
    found = run(w, u, x[:length])
    zeros = fnp.zeros((BATCH, SIZE), "float64")
    expected = two_layers(python_scan)(w, u, x[:length])[0] if length else (zeros, zeros)
    assert_close(found, expected)


def test_lstm_and_gru_cells(rng):
    key = fdl.random.key(0)
    x = fnp.asarray(rng.normal(size=(STEPS, BATCH, SIZE)))
    for init, cell, carry in ((nn.init_lstm, nn.lstm_cell, nn.lstm_carry), (nn.init_gru, nn.gru_cell, nn.gru_carry)):
        params = init(key, SIZE, 4, dtype="float64")

        def loss(scan, params, cell=cell, carry=carry):
            return fnp.sin(scan(lambda c, v: cell(params, c, v), carry((BATCH,), 4, "float64"), x)[1]).sum()

        gradient = fdl.grad(lambda p, loss=loss: loss(lax.scan, p))
        assert_close(fdl.jit(gradient)(params), fdl.grad(lambda p, loss=loss: loss(python_scan, p))(params))
        assert [count(b, *PRODUCTS) for b in bodies(compiled(gradient, params))] == [1, 1]


def test_an_lstm_stacks_its_gates_and_states_only(rng):
    params = nn.init_lstm(fdl.random.key(0), SIZE, 4, dtype="float64")
    x = fnp.asarray(rng.normal(size=(STEPS, BATCH, SIZE)))

    def loss(params, x):
        carry = nn.lstm_carry((BATCH,), 4, "float64")
        return lax.scan(lambda c, v: nn.lstm_cell(params, c, v), carry, x)[1].sum()

    program = compiled(fdl.grad(loss), params, x)
    forward = next(e.operation for e in program.equations if e.operation.name == "scan")
    stacks = forward.body.output_types[forward.carries :]
    # What four gates are functions of, the cell and the hidden state before the step.
    assert sum(t.size for t in stacks) == 6 * BATCH * 4


def test_relu_stacks_one_byte_an_element(rng):
    w, x = weights(rng, (50, 50), (STEPS, 2, 50))

    def loss(w, x):
        return lax.scan(lambda h, v: (fdl.nn.relu(h @ w + v) * 2, None), x[0], x)[0].sum()

    program = compiled(fdl.grad(loss, 1), w, x)
    forward = next(e.operation for e in program.equations if e.operation.name == "scan")
    stacks = forward.body.output_types[forward.carries :]
    assert [t.dtype for t in stacks] == [np.dtype(bool)]


def test_minimum_cut():
    """z = (x + y) * x stands for what is needed: the smaller of both ways to have it."""
    large, small = (TensorType((n,), np.dtype(np.float64)) for n in (10, 2))
    x, y, s, z = Var(large), Var(large), Var(large), Var(large)
    chain = [Equation(Exp(), (Var(large),), (x,)), Equation(Exp(), (Var(large),), (y,))]
    chain += [Equation(Add(), (x, y), (s,)), Equation(Mul(), (s, x), (z,))]
    assert set(minimum_cut(chain, [z], [])) == {z}
    assert set(minimum_cut(chain, [z, s, x], [])) == {x, s}
    assert set(minimum_cut(chain, [z, s], [])) == {z, s}
    assert set(minimum_cut(chain, [z, s], [y])) == {x}
    assert minimum_cut(chain, [z, s], [x, y]) == []
    few, wide = Var(small), Var(TensorType((10, 2), np.dtype(np.float64)))
    spread = [
        Equation(Exp(), (Var(small),), (few,)),
        Equation(BroadcastInDim((10, 2), (1,)), (few,), (wide,)),
    ]
    assert minimum_cut(spread, [wide], []) == [few]


def test_loops_that_read_what_others_are_to_stack_less_of():
    """The second backward loop is made to read stacks of the first forward loop, which another one reads, too."""

    def loss(x):
        last, kept = lax.scan(lambda c, x: (c * x, (c / x, c * x)), x[0], x)
        return lax.scan(lambda c, x: (c * x[0] / x[1], None), last, kept, reverse=True)[0]

    curvature = fdl.grad(lambda x: fdl.grad(loss)(x).sum())
    x = fnp.linspace(0.5, 0.9, 4)
    assert_close(fdl.jit(curvature)(x), curvature(x))
