"""What checkpoint keeps under each policy, and that derivatives do not depend on it."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import checkpoint_policies as policies
from fdl.ad_checkpoint import checkpoint_name, print_saved_residuals, saved_residuals

W = np.array([[0.5, -0.2, 0.1], [0.3, 0.4, -0.6], [-0.1, 0.2, 0.7]], np.float32)
X = np.array([0.3, -0.8, 0.5], np.float32)


@fdl.jit
def inner(x):
    return fnp.sin(x)


def network(w, x):
    h = checkpoint_name(fnp.tanh(w @ x), "hidden")
    out = checkpoint_name(fnp.einsum("bij,bj->bi", w[None], fnp.exp(inner(h))[None]), "out")
    return (fnp.sin(out) ** 2).sum()


def kept(policy, f=network):
    """What is kept besides the arguments: names, or operations."""
    found = [where for _, where in saved_residuals(fdl.checkpoint(f, policy=policy), W, X) if "argument" not in where]
    return sorted(w.split(" from ")[0].removeprefix("output of ") for w in found)


POLICIES = {
    "nothing": (policies.nothing_saveable, []),
    "one name": (policies.save_only_these_names("hidden"), ["named 'hidden'"]),
    "two names": (policies.save_only_these_names("hidden", "out", "absent"), ["named 'hidden'", "named 'out'"]),
    "other names": (policies.save_any_names_but_these("hidden"), ["named 'out'"]),
    "dots": (policies.dots_saveable, ["dot_general", "named 'out'"]),
    "dots without batch": (policies.dots_with_no_batch_dims_saveable, ["dot_general"]),
    "both": (
        policies.save_from_both_policies(
            policies.save_only_these_names("hidden"), policies.dots_with_no_batch_dims_saveable
        ),
        ["dot_general", "named 'hidden'"],
    ),
    "the user's": (lambda operation, *types, **parameters: operation.name == "exp", ["exp"]),
}


@pytest.mark.parametrize("name", POLICIES)
def test_what_a_policy_keeps(name) -> None:
    policy, expected = POLICIES[name]
    assert kept(policy) == expected


@pytest.mark.parametrize("name", ["one name", "dots", "the user's"])
def test_derivatives_do_not_depend_on_the_policy(name) -> None:
    f = fdl.checkpoint(network, policy=POLICIES[name][0])
    expected = fdl.grad(network, (0, 1))(W, X)
    for run in (fdl.grad(f, (0, 1)), fdl.jit(fdl.grad(f, (0, 1)))):
        for mine, theirs in zip(run(W, X), expected, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-7)
    batch = fdl.vmap(fdl.grad(f, 1), (None, 0))(W, np.stack([X, -X]))
    np.testing.assert_allclose(batch[0], expected[1], rtol=1e-5, atol=1e-7)
    if name == "dots":
        np.testing.assert_allclose(fdl.hessian(f, 1)(W, X), fdl.hessian(network, 1)(W, X), rtol=1e-4, atol=1e-6)


def test_what_is_not_needed_is_not_kept() -> None:
    def f(w, x):
        return fnp.exp(checkpoint_name(fnp.sin(x), "sine")).sum() + (w @ x).sum()

    assert kept(policies.save_any_names_but_these(), f) == ["named 'sine'"]
    assert kept(policies.dots_saveable, f) == []  # a product of which the derivative needs its operands only
    everything = fdl.checkpoint(lambda x: fnp.exp(fnp.sin(x)).sum(), policy=lambda *_, **__: True)
    assert "argument" not in str(saved_residuals(everything, X))


def test_values_kept_inside_of_a_scan_are_stacked() -> None:
    def layer(x, w):
        return checkpoint_name(fnp.tanh(w @ x), "state"), None

    def run(policy, ws, x):
        return fdl.lax.scan(fdl.checkpoint(layer, policy=policy), x, ws)[0].sum()

    ws = np.stack([W, W.T, W, -W])
    (*_, (type, where)) = saved_residuals(lambda ws, x: run(policies.save_only_these_names("state"), ws, x), ws, X)
    assert type.shape == (4, 3) and where.startswith("output of scan")
    plain = fdl.grad(lambda ws: fdl.lax.scan(layer, X, ws)[0].sum())(ws)
    for policy in (policies.save_only_these_names("state"), policies.dots_saveable, policies.nothing_saveable):
        found = fdl.jit(fdl.grad(lambda ws, policy=policy: run(policy, ws, X)))(ws)
        np.testing.assert_allclose(found, plain, rtol=1e-5, atol=1e-7)


def test_the_policy_decides_what_the_compiled_step_remembers() -> None:
    """The exponential is computed once where it is kept, and twice where it is not."""

    def count(policy):
        def f(x):
            return fnp.sin(fnp.exp(x)).sum()

        text = str(fdl.make_program(fdl.grad(fdl.checkpoint(f, policy=policy)))(X))
        return text.count(" = exp ")

    assert count(policies.nothing_saveable) == 2
    assert count(lambda operation, *_, **__: operation.name == "exp") == 1


def test_names_are_the_values_themselves() -> None:
    tree = {"a": fnp.ones(2), "b": fnp.int32(3)}
    named = fdl.jit(lambda t: checkpoint_name(t, "both"))(tree)
    assert named["b"].dtype == np.int32 and fdl.tree.structure(named) == fdl.tree.structure(tree)
    assert float(fdl.grad(lambda x: checkpoint_name(x, "x") ** 2)(3.0)) == 6.0
    np.testing.assert_array_equal(fdl.vmap(lambda x: checkpoint_name(x, "x") * 2)(fnp.arange(3)), [0, 2, 4])


def test_offloading_is_refused() -> None:
    with pytest.raises(NotImplementedError, match="use save_only_these_names"):
        policies.save_and_offload_only_these_names(
            names_which_can_be_saved=["a"], names_which_can_be_offloaded=["b"], offload_src="device", offload_dst="host"
        )
    with pytest.raises(NotImplementedError, match="use dots_with_no_batch_dims_saveable"):
        policies.offload_dot_with_no_batch_dims("device", "pinned_host")


def test_residuals_are_printed_with_types_and_lines(capsys) -> None:
    print_saved_residuals(lambda w, x: fnp.sin(w @ x), W, X)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["f32[3,3] from the argument w", "f32[3] from the argument x"]
    assert lines[2].startswith("f32[3] output of cos from test_policies.py:")
