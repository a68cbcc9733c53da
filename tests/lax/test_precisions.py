"""The `precision` of convolutions: what names mean, and that it stays with what transforms make of a convolution."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import export, lax, nn
from fdl.lax.precisions import summation

X, W = np.ones((2, 6, 6, 4), np.float32), np.ones((3, 3, 4, 5), np.float32)
NHWC = ("NHWC", "HWIO", "NHWC")


def convolution(x, w, precision="highest", groups=1):
    return lax.conv_general_dilated(
        x, w, (1, 1), "SAME", dimension_numbers=NHWC, feature_group_count=groups, precision=precision
    )


def precisions(program):
    """The precision of every convolution of a Program and of those that it calls."""
    found = []
    for equation in program.equations:
        if equation.operation.name == "conv_general":
            found.append(equation.operation.precision)
        for value in vars(equation.operation).values():
            found += precisions(value) if hasattr(value, "equations") else []
    return found


@pytest.mark.parametrize("given", [None, "default", "fastest", lax.Precision.DEFAULT, ("default", None)])
def test_default_leaves_the_sums_to_the_compiler(given):
    assert summation(given) is None


@pytest.mark.parametrize(
    "given",
    ["high", "HIGHEST", "float32", lax.Precision.HIGH, lax.Precision.HIGHEST, (None, "highest"), "F32_F32_F32"],
)
def test_others_ask_for_direct_sums(given):
    assert summation(given) == "highest"


def test_a_name_that_is_none_is_refused():
    with pytest.raises(ValueError, match="precision is one of default"):
        summation("hihgest")


def test_the_setting_is_what_no_precision_means():
    traced = fdl.jit(lambda x, w: convolution(x, w, None))
    assert precisions(fdl.make_program(traced)(X, W)) == [None]
    fdl.config.default_matmul_precision = "highest"
    try:
        assert precisions(fdl.make_program(traced)(X, W)) == ["highest"]
        assert precisions(fdl.make_program(lambda x, w: convolution(x, w, "default"))(X, W)) == [None]
    finally:
        fdl.config.default_matmul_precision = "default"
    assert precisions(fdl.make_program(traced)(X, W)) == [None]


@pytest.mark.parametrize("precision", ["highest", None])
@pytest.mark.parametrize(
    "transform",
    {
        "gradients": lambda f: fdl.grad(lambda x, w: fnp.sum(f(x, w) ** 2), (0, 1)),
        "jvp": lambda f: lambda x, w: fdl.jvp(f, (x, w), (x, w)),
        "second": lambda f: fdl.grad(lambda x, w: fnp.sum(fdl.grad(lambda x: fnp.sum(f(x, w) ** 3))(x) ** 2), (0, 1)),
        "vmap": lambda f: lambda x, w: fdl.vmap(f)(x[None], w[None]),
        "vmap of images": lambda f: lambda x, w: fdl.vmap(f, (0, None))(x[None], w),
        "vmap of kernels": lambda f: lambda x, w: fdl.vmap(f, (None, 0))(x, w[None]),
        "per example": lambda f: lambda x, w: fdl.vmap(fdl.grad(lambda w, x: fnp.sum(f(x[None], w))), (None, 0))(w, x),
        "remat": lambda f: fdl.grad(fdl.checkpoint(lambda x, w: fnp.sum(f(x, w) ** 2)), (0, 1)),
        "scan": lambda f: lambda x, w: lax.scan(lambda c, _: (c + fnp.sum(f(x, w)), None), 0.0, None, 2),
    }.items(),
    ids=lambda pair: pair[0],
)
def test_transforms_keep_it(transform, precision):
    program = fdl.make_program(transform[1](lambda x, w: convolution(x, w, precision)))(X, W)
    found = precisions(program)
    assert found and set(found) == {precision}


def test_functions_hand_it_on():
    params = {"w": fnp.asarray(W)}
    first = (0, 3, 1, 2)
    for function in (
        lambda x, w: nn.conv(params, x, precision="highest"),
        lambda x, w: lax.conv(x.transpose(first), w.transpose(3, 2, 0, 1), (1, 1), "SAME", "highest"),
        lambda x, w: lax.conv_with_general_padding(
            x.transpose(first), w.transpose(3, 2, 0, 1), (1, 1), "SAME", None, None, "highest"
        ),
        lambda x, w: lax.conv_transpose(x, w, (2, 2), "SAME", precision="highest"),
    ):
        assert precisions(fdl.make_program(function)(X, W)) == ["highest"]


def test_programs_that_differ_in_it_alone_are_two_programs():
    a, b = (fdl.make_program(lambda x, w, p=p: convolution(x, w, p))(X, W) for p in ("highest", None))
    assert a.equations[0].operation != b.equations[0].operation
    assert "precision=highest" in str(a) and "precision=None" in str(b)


def test_exported_programs_keep_it(tmp_path):
    def apply(params, batch):
        return {"y": convolution(batch["x"], params["w"])}

    export.save(tmp_path / "model.safetensors", export.export(apply, {"w": W}, {"x": X}))
    again = export.load(tmp_path / "model.safetensors")
    program = fdl.make_program(again.apply)(again.params, {"x": X})
    assert set(precisions(program)) == {"highest"}
