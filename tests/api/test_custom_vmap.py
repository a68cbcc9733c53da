"""Batching rules of the user's own."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl.custom_batching import custom_vmap, sequential_vmap
from fdl.errors import BatchError, TreeError


def marked(seen=None):
    """``x * y``, ten times as much under vmap."""

    @custom_vmap
    def f(x, y):
        return x * y

    @f.def_vmap
    def rule(axis_size, in_batched, xs, ys):
        if seen is not None:
            seen.append((axis_size, in_batched))
        return 10.0 * xs * ys, in_batched[0] or in_batched[1]

    return f


def test_the_rule_gets_size_flags_and_arguments() -> None:
    seen: list[object] = []
    f, x = marked(seen), fnp.arange(3.0)
    assert float(f(2.0, 3.0)) == float(fdl.jit(f)(2.0, 3.0)) == 6.0
    np.testing.assert_array_equal(fdl.vmap(f, (0, None))(x, 2.0), [0, 20, 40])
    np.testing.assert_array_equal(fdl.jit(fdl.vmap(f))(x, x), [0, 10, 40])
    assert seen == [(3, [True, False]), (3, [True, True])]
    np.testing.assert_array_equal(fdl.vmap(lambda x: f(2.0, 3.0) + x)(x), [6, 7, 8])


def test_keywords_and_trees() -> None:
    @custom_vmap
    def f(tree, scale=2.0):
        return {"out": tree["a"] * scale}

    @f.def_vmap
    def rule(axis_size, in_batched, tree, scale):
        assert in_batched == [{"a": True}, False]
        return {"out": -tree["a"]}, {"out": True}

    np.testing.assert_array_equal(fdl.vmap(lambda a: f({"a": a}))(fnp.arange(2.0))["out"], [0, -1])
    assert float(f(scale=3.0, tree={"a": 2.0})["out"]) == 6.0


def test_nested_vmaps_call_the_rule_inside_of_the_rule() -> None:
    f = custom_vmap(lambda x: x)

    @f.def_vmap
    def rule(axis_size, in_batched, xs):
        return f(xs) + 1.0, True

    x = fnp.zeros((2, 3))
    np.testing.assert_array_equal(fdl.vmap(fdl.vmap(f))(x), x + 2)
    np.testing.assert_array_equal(fdl.jit(fdl.vmap(fdl.vmap(f, 1)))(x[None]), x.T[None] + 2)


@pytest.mark.parametrize("under", [lambda f: f, fdl.jit])
def test_derivatives_under_vmap_are_those_of_the_rule(under) -> None:
    f, x, y = marked(), fnp.arange(3.0), fnp.arange(3.0) + 5
    gx, gy = under(fdl.vmap(fdl.grad(f, (0, 1))))(x, y)
    np.testing.assert_array_equal(gx, 10 * y)
    np.testing.assert_array_equal(gy, 10 * x)
    outs, dots = under(lambda x, y: fdl.jvp(fdl.vmap(f), (x, y), (y, x)))(x, y)
    np.testing.assert_array_equal(outs, 10 * x * y)
    np.testing.assert_array_equal(dots, 10 * (x * x + y * y))
    outs, dots = under(fdl.vmap(lambda x, y: fdl.jvp(f, (x, y), (y, x))))(x, y)
    np.testing.assert_array_equal(outs, 10 * x * y)
    np.testing.assert_array_equal(dots, 10 * (x * x + y * y))
    np.testing.assert_array_equal(under(fdl.grad(lambda x: fdl.vmap(f)(x, y).sum()))(x), 10 * y)
    assert [float(g) for g in under(fdl.grad(f, (0, 1)))(2.0, 3.0)] == [3.0, 2.0]
    cube = custom_vmap(lambda x: x**3)
    cube.def_vmap(lambda size, batched, xs: (2 * xs**3, True))
    np.testing.assert_array_equal(under(fdl.vmap(fdl.grad(fdl.grad(cube))))(x), 12 * x)
    assert float(under(fdl.grad(fdl.grad(cube)))(2.0)) == 12.0


def test_many_directions_at_one_point_and_one_at_many() -> None:
    cube = custom_vmap(lambda x: x**3)
    cube.def_vmap(lambda size, batched, xs: (2 * xs**3, batched[0]))
    dots = fdl.vmap(lambda d: fdl.jvp(cube, (2.0,), (d,))[1])(fnp.arange(3.0))
    np.testing.assert_array_equal(dots, 24 * np.arange(3))  # the rule sees a batch of nothing
    np.testing.assert_array_equal(fdl.jit(fdl.jacobian(fdl.vmap(cube)))(fnp.arange(2.0)), np.diag([0.0, 6.0]))


def test_one_operand_with_tangents_beside_one_without() -> None:
    f, x, y = marked(), fnp.arange(3.0), fnp.arange(3.0) + 5
    np.testing.assert_array_equal(fdl.vmap(fdl.grad(f), (0, None))(x, 4.0), [40, 40, 40])
    np.testing.assert_array_equal(fdl.vmap(fdl.grad(f), (None, 0))(2.0, y), 10 * y)
    found = fdl.vmap(lambda x, t: fdl.jvp(f, (x, 3.0), (1.0, t))[1])(x, y)
    np.testing.assert_array_equal(found, 10 * (3 + x * y))


def test_inside_of_loops_and_checkpoints() -> None:
    f = marked()

    def run(x):
        return fdl.lax.scan(lambda c, y: (fdl.checkpoint(f)(c, y), None), x, fnp.array([1.0, 2.0]))[0]

    x = fnp.array([1.0, 3.0])
    np.testing.assert_array_equal(fdl.jit(fdl.vmap(run))(x), 200 * x)
    np.testing.assert_array_equal(fdl.jit(fdl.vmap(fdl.grad(run)))(x), [200, 200])
    assert float(fdl.grad(run)(1.0)) == 2.0


def test_custom_vjp_around_a_custom_vmap() -> None:
    f = fdl.custom_vjp(marked())
    f.defvjp(lambda x, y: (f(x, y), None), lambda _, g: (7 * g, 8 * g))
    np.testing.assert_array_equal(fdl.vmap(f)(fnp.arange(2.0), fnp.ones(2)), [0, 10])
    f.def_vmap(lambda size, batched, xs, ys: (xs - ys, True))  # of the function inside
    np.testing.assert_array_equal(fdl.vmap(f)(fnp.arange(2.0), fnp.ones(2)), [-1, 0])
    assert not hasattr(f, "absent")
    assert [float(g) for g in fdl.grad(f, (0, 1))(2.0, 3.0)] == [7, 8]


def test_rules_may_return_tangents_without_numbers() -> None:
    f = fdl.custom_jvp(lambda x, n: (x * n, n + 1))
    f.defjvp(lambda primals, tangents: (f(*primals), (7 * tangents[0], np.zeros((), fdl.float0))))
    outs, dots = fdl.jit(lambda x: fdl.jvp(lambda x: f(x, 3), (x,), (1.0,)))(2.0)
    assert [float(o) for o in outs] == [6, 4] and float(dots[0]) == 7
    np.testing.assert_array_equal(fdl.vmap(fdl.grad(lambda x: f(x, 3)[0]))(fnp.ones(2)), [7, 7])


def test_symbolic_zeros_stay_so_under_vmap() -> None:
    seen = []
    f = fdl.custom_jvp(lambda x, y: y)

    def rule(primals, tangents):
        seen.append(type(tangents[1]))
        return primals[1], tangents[1]

    f.defjvp(rule, symbolic_zeros=True)
    fdl.jvp(fdl.vmap(lambda x: f(x, f(x, 1.0))), (fnp.ones(3),), (fnp.ones(3),))
    assert seen == [fdl.custom_derivatives.SymbolicZero] * 2


def test_a_rule_that_does_not_fit_is_refused() -> None:
    f = custom_vmap(lambda x: x)
    with pytest.raises(AttributeError, match="set one with def_vmap"):
        f(1.0)
    f.def_vmap(lambda size, batched, xs: (xs.sum(), True))
    with pytest.raises(BatchError, match=r"says that an output f32\[\] is batched"):
        fdl.vmap(f)(fnp.ones(3))
    f.def_vmap(lambda size, batched, xs: ((xs, xs), (True, True)))
    with pytest.raises(TreeError, match="must return an output, and bools, of the structure"):
        fdl.vmap(f)(fnp.ones(3))


def test_mapped_values_that_a_function_closes_over_are_refused() -> None:
    def run(x):
        f = custom_vmap(lambda y: x * y)
        f.def_vmap(lambda size, batched, ys: (ys, True))
        return f(x)

    with pytest.raises(BatchError, match="closes over a value that is mapped"):
        fdl.vmap(run)(fnp.ones(3))


def test_sequential_vmap_runs_one_example_after_another() -> None:
    order: list[float] = []

    @sequential_vmap
    def f(x, y):
        fdl.debug.callback(lambda v: order.append(float(v)), x)
        return {"sum": x + y}

    x = fnp.array([3.0, 1.0, 2.0])
    np.testing.assert_array_equal(fdl.vmap(f, (0, None))(x, 1.0)["sum"], x + 1)
    assert order == [3.0, 1.0, 2.0]
    np.testing.assert_array_equal(
        fdl.jit(fdl.vmap(fdl.vmap(f), (None, 0)))(x, fnp.ones((2, 3)))["sum"], np.stack([x + 1] * 2)
    )
    np.testing.assert_array_equal(fdl.vmap(fdl.grad(lambda x: f(x * x, x)["sum"]))(x), 2 * x + 1)
