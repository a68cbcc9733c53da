"""Convolutions, pooling and normalisation of images NHWC, which PyTorch sees as NCHW in channels-last memory."""

from typing import Any

from benchmarks.cases.case import Case, normal, sized, with_gradient

#: Batch, size, input features, window, output features, stride, groups, dilation.
CONVOLUTIONS = [
    (16, 224, 3, 7, 64, 2, 1, 1), (16, 56, 64, 3, 192, 1, 1, 1), (16, 28, 256, 1, 128, 1, 1, 1),
    (16, 28, 192, 1, 16, 1, 1, 1), (16, 28, 32, 5, 96, 1, 1, 1), (16, 14, 160, 3, 320, 1, 1, 1),
    (16, 7, 192, 3, 384, 1, 1, 1), (16, 7, 832, 1, 384, 1, 1, 1), (64, 32, 16, 3, 16, 1, 1, 1),
    (64, 32, 16, 3, 32, 2, 1, 1), (64, 16, 32, 3, 32, 1, 1, 1), (64, 8, 64, 3, 64, 1, 1, 1),
    (128, 28, 1, 5, 6, 1, 1, 1),
    (128, 14, 6, 5, 16, 1, 1, 1), (4, 64, 1, 3, 64, 1, 1, 1), (4, 64, 64, 3, 1, 1, 1, 1), (8, 56, 64, 3, 64, 1, 32, 1),
    (8, 112, 32, 3, 32, 1, 32, 1), (8, 28, 192, 3, 192, 1, 192, 1), (8, 56, 128, 3, 128, 2, 128, 1),
    (4, 32, 64, 3, 64, 1, 1, 2), (1, 56, 64, 3, 64, 1, 1, 1), (1, 14, 256, 3, 256, 1, 1, 1),
    (8, 17, 33, 3, 35, 1, 1, 1),
]  # fmt: skip
#: Batch, length, input features, window, output features.
LINES = [(16, 1000, 1, 9, 32), (16, 250, 64, 3, 64), (4, 4000, 8, 5, 16)]


def _nchw(x: Any) -> Any:
    return x.permute(0, 3, 1, 2)


def _nhwc(x: Any) -> Any:
    return x.permute(0, 2, 3, 1)


def _convolution(b: int, size: int, c: int, window: int, o: int, stride: int, groups: int, dilation: int) -> list[Case]:
    pad = window // 2 * dilation

    def functional(xp: Any, x: Any, w: Any) -> Any:
        return xp.lax.conv_general_dilated(
            x, w, (stride, stride), ((pad, pad), (pad, pad)), rhs_dilation=(dilation, dilation),
            dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups,
        )  # fmt: skip

    def torch(t: Any, x: Any, w: Any) -> Any:
        w = w.permute(3, 2, 0, 1)
        return _nhwc(t.nn.functional.conv2d(_nchw(x), w, None, stride, pad, dilation, groups))

    name = f"{window}x{window} {c}-{o}, {b} of {size}x{size}"
    name += f", stride {stride}" * (stride > 1) + f", {groups} groups" * (groups > 1) + ", dilated" * (dilation > 1)
    return with_gradient(
        Case(name, normal((b, size, size, c), (window, window, c // groups, o)), functional, torch, wrt=(0, 1))
    )


def _line(b: int, length: int, c: int, window: int, o: int) -> list[Case]:
    pad = window // 2

    def functional(xp: Any, x: Any, w: Any) -> Any:
        return xp.lax.conv_general_dilated(x, w, (1,), ((pad, pad),), dimension_numbers=("NWC", "WIO", "NWC"))

    def torch(t: Any, x: Any, w: Any) -> Any:
        return t.nn.functional.conv1d(x.transpose(1, 2), w.permute(2, 1, 0), None, 1, pad).transpose(1, 2)

    name = f"1-D {window} {c}-{o}, {b} of {length}"
    return with_gradient(Case(name, normal((b, length, c), (window, c, o)), functional, torch, wrt=(0, 1)))


def convolution() -> list[Case]:
    """Both derivatives are one case."""
    return [case for sizes in CONVOLUTIONS for case in _convolution(*sizes)] + [
        case for sizes in LINES for case in _line(*sizes)
    ]


#: Batch, size, features, window, stride.
POOLS = [
    (16, 112, 64, 3, 2),
    (16, 28, 192, 2, 2),
    (128, 28, 6, 2, 2),
    (16, 14, 480, 3, 2),
    (16, 7, 832, 3, 1),
    (8, 33, 17, 3, 2),
]
GLOBAL = [(16, 7, 1024), (16, 7, 2048), (64, 8, 64), (100, 25, 64)]


def pooling() -> list[Case]:
    """Largest and average of windows, and the mean of all places."""
    found = []
    for b, size, c, window, stride in POOLS:
        shape, strides = (1, window, window, 1), (1, stride, stride, 1)

        def largest(xp: Any, x: Any, shape: Any = shape, strides: Any = strides) -> Any:
            return xp.lax.reduce_window(x, -float("inf"), xp.lax.max, shape, strides, "VALID")

        def average(xp: Any, x: Any, shape: Any = shape, strides: Any = strides, count: int = window**2) -> Any:
            return xp.lax.reduce_window(x, 0.0, xp.lax.add, shape, strides, "VALID") / count

        def largest_torch(t: Any, x: Any, w: int = window, s: int = stride) -> Any:
            return _nhwc(t.nn.functional.max_pool2d(_nchw(x), w, s))

        def average_torch(t: Any, x: Any, w: int = window, s: int = stride) -> Any:
            return _nhwc(t.nn.functional.avg_pool2d(_nchw(x), w, s))

        name = f"{window}x{window} by {stride}, {sized(b, size, size, c)}"
        found += with_gradient(Case(f"max {name}", normal((b, size, size, c)), largest, largest_torch))
        found += with_gradient(Case(f"average {name}", normal((b, size, size, c)), average, average_torch))
    for b, size, c in GLOBAL:
        mean = Case(
            f"mean of {sized(b, size, size, c)}", normal((b, size, size, c)), lambda _, x: x.mean((1, 2)),
            lambda _, x: x.mean((1, 2)),
        )  # fmt: skip
        found += with_gradient(mean)
    return found


BATCH_NORMS = [(16, 56, 64), (16, 28, 192), (16, 7, 832), (16, 7, 2048), (64, 32, 16)]
GROUP_NORMS = [(8, 32, 64, 8), (4, 56, 32, 4), (16, 8, 256, 32)]
LAYER_NORMS = [(512, 128), (4096, 768), (1000, 1000), (64, 4096), (10_000, 64), (33, 77)]


def norms() -> list[Case]:
    """Batch norm in training, group norm, layer norm and the root of the mean square; without scale and shift."""
    found = []

    def whiten(xp: Any, x: Any, axes: Any) -> Any:
        mean = x.mean(axes, keepdims=True)
        variance = ((x - mean) ** 2).mean(axes, keepdims=True)
        return (x - mean) / xp.numpy.sqrt(variance + 1e-5)

    for b, size, c in BATCH_NORMS:
        case = Case(
            f"batch norm {sized(b, size, size, c)}", normal((b, size, size, c)), lambda xp, x: whiten(xp, x, (0, 1, 2)),
            lambda t, x: _nhwc(t.nn.functional.batch_norm(_nchw(x), None, None, training=True)),
        )  # fmt: skip
        found += with_gradient(case)
    for b, size, c, groups in GROUP_NORMS:

        def group(xp: Any, x: Any, groups: int = groups) -> Any:
            b, h, w, c = x.shape
            return whiten(xp, x.reshape(b, h, w, groups, c // groups), (1, 2, 4)).reshape(x.shape)

        def group_torch(t: Any, x: Any, groups: int = groups) -> Any:
            return _nhwc(t.nn.functional.group_norm(_nchw(x), groups))

        name = f"group norm {groups} groups {sized(b, size, size, c)}"
        found += with_gradient(Case(name, normal((b, size, size, c)), group, group_torch))
    for rows, width in LAYER_NORMS:
        layer = Case(
            f"layer norm {sized(rows, width)}", normal((rows, width)), lambda xp, x: whiten(xp, x, -1),
            lambda t, x: t.nn.functional.layer_norm(x, x.shape[-1:]),
        )  # fmt: skip
        root = Case(
            f"RMS norm {sized(rows, width)}", normal((rows, width)),
            lambda xp, x: x / xp.numpy.sqrt((x * x).mean(-1, keepdims=True) + 1e-5),
            lambda t, x: t.nn.functional.rms_norm(x, x.shape[-1:], eps=1e-5),
        )  # fmt: skip
        found += with_gradient(layer) + with_gradient(root)
    return found
