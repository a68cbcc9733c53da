"""What the forward pass keeps for the backward pass of loops, branches and calls."""

import numpy as np

import fdl
import fdl.numpy as fnp
from fdl import lax
from fdl.control.cond import Cond
from fdl.control.scan import Scan
from fdl.core.program import subprograms
from fdl.core.trace import lift
from fdl.core.verify import verify
from fdl.transforms.linearize import linearize_values
from tests.api.check import check_derivatives


def kept(f, *args):
    """Shapes of the values that the linear part of `f` reads."""
    args = [lift(np.asarray(a)) for a in args]
    _, program, residuals, _ = linearize_values(lambda *xs: [f(*xs)], args, [True] * len(args))
    verify(program)
    return sorted(r.shape for r in residuals if r.shape)


def operations(program):
    """Names of all operations, of inner programs too."""
    for equation in program.equations:
        yield equation.operation.name
        for inner in subprograms(equation.operation):
            yield from operations(inner)


def test_scan_stacks_what_changes_and_shares_what_does_not(rng):
    w, x, h = rng.normal(size=(3, 3)), rng.normal(size=(7, 3)), rng.normal(size=3)

    def run(w, x, h):
        return lax.scan(lambda c, v: (fnp.tanh(w @ c + v), None), h, x)[0].sum()

    shapes = kept(run, w, x, h)
    assert (3, 3) in shapes and (7, 3, 3) not in shapes
    assert shapes.count((7, 3)) <= 3


def test_scan_makes_constants_and_moved_weights_again_instead_of_stacking_them(rng):
    x, w = rng.normal(size=(5, 2)), fnp.asarray(rng.normal(size=(2, 2)))
    assert kept(lambda x: lax.scan(lambda c, v: (c * 2.0 + v, None), np.zeros(2), x)[0].sum(), x) == [(2,)]

    def run(w, x):
        return lax.scan(lambda c, v: ((v @ w.T) * fnp.exp(w[0]) + c * 0.5, None), np.zeros(2), x)[0]

    assert all(len(shape) < 3 for shape in kept(lambda w, x: run(w, x).sum(), w, x))
    assert all(len(shape) < 3 for shape in kept(lambda x: run(w, x).sum(), x))
    check_derivatives(run, w, x)
    check_derivatives(fdl.jit(lambda x: run(w, x)), x)


def test_the_backward_scan_does_not_compute_what_the_forward_scan_knew(rng):
    x = rng.normal(size=4)

    def run(x):
        return lax.scan(lambda c, v: (fnp.exp(fnp.sin(c) + v), None), np.asarray(0.0), x)[0]

    program = fdl.make_program(fdl.grad(run))(x)
    scans = [e.operation for e in program.equations if isinstance(e.operation, Scan)]
    assert [s.reverse for s in scans] == [False, True]
    names = [list(operations(s.body)) for s in scans]
    assert {"exp", "sin"} <= set(names[0])
    assert not {"exp", "sin", "cos"} & set(names[1])


def test_checkpoint_computes_it_again(rng):
    x = rng.normal(size=4)
    program = fdl.make_program(fdl.grad(lambda x: fdl.checkpoint(lambda x: fnp.exp(fnp.sin(x)).sum())(x)))(x)
    assert list(operations(program)).count("sin") == 2


def test_branches_that_need_nothing_get_zeros_only_for_the_others(rng):
    x = rng.normal(size=4)

    def run(x):
        return lax.cond(x[0] > 0, lambda x: fnp.exp(fnp.sin(x)).sum(), lambda x: x.sum(), x)

    program = fdl.make_program(fdl.grad(run))(x)
    conds = [e.operation for e in program.equations if isinstance(e.operation, Cond)]
    assert len(conds) == 2
    linear, curved = conds[1].branches
    assert not {"exp", "sin", "cos"} & {*operations(linear), *operations(curved)}
    assert list(operations(linear)).count("mul") == 0


def test_integer_carries_are_not_differentiated(rng):
    x = rng.normal(size=4)

    def run(x):
        return lax.scan(lambda c, v: ((c[0] + 1, c[1] * v), None), (0, np.asarray(1.0)), x)[0][1]

    program = fdl.make_program(fdl.grad(run))(x)
    backward = [e.operation for e in program.equations if isinstance(e.operation, Scan)][1]
    assert all(t.dtype.kind == "f" for t in backward.body.output_types)


def test_every_transformed_program_verifies(rng):
    x = rng.normal(size=(4, 3))

    def run(x):
        def step(c, v):
            c = lax.cond(v[0] > 0, fnp.sin, lambda c: c * v, c)
            return lax.while_loop(lambda s: s.sum() < -3, lambda s: s + 1, lax.stop_gradient(c)) + c, c

        return lax.scan(step, x[0], x, reverse=True)[1].sum()

    for transformed in (run, fdl.grad(run), fdl.jit(run), fdl.hessian(run), fdl.checkpoint(run)):
        verify(fdl.make_program(transformed)(x))
        verify(fdl.make_program(fdl.vmap(transformed))(np.stack([x, x])))


def test_a_loop_whose_body_is_compiled_is_cut_into_known_and_unknown():
    """The body's call has a known and an unknown output: x goes to x**4 here, with the derivative 4 x**3."""
    x = np.array([1.5, 2.0])

    def loop(x):
        return lax.while_loop(lambda c: c[1] < 2, fdl.jit(lambda c: (c[0] * c[0], c[1] + 1)), (x, 0))[0]

    for function in (loop, fdl.jit(loop)):
        value, push = fdl.linearize(function, x)
        np.testing.assert_allclose(value, x**4, rtol=1e-12)
        np.testing.assert_allclose(push(np.ones(2)), 4 * x**3, rtol=1e-12)
