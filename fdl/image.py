"""Images resized, under the names of ``jax.image``: an output pixel is a weighted mean of the pixels around its place.

Along each axis the weights are those of a kernel, which is made wider where an image shrinks (`antialias`), so that no
pixel is left out; they add up to 1.
"""

import enum
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

import fdl.numpy as fnp
from fdl.core.trace import Value
from fdl.core.types import Array
from fdl.dtypes import is_inexact, result_type
from fdl.errors import ShapeError
from fdl.numpy._operands import axis_index, cast, integers, number
from fdl.ops.precision import accumulator

ArrayLike: TypeAlias = Any
__all__ = ["ResizeMethod", "resize", "scale_and_translate"]


class ResizeMethod(enum.Enum):
    """How pixels are weighted.

    >>> ResizeMethod.from_string("bilinear").name
    'LINEAR'
    """

    NEAREST = 0
    LINEAR = 1
    LANCZOS3 = 2
    LANCZOS5 = 3
    CUBIC = 4
    CUBIC_PYTORCH = 5
    AREA = 6

    @staticmethod
    def from_string(s: str) -> "ResizeMethod":
        """The method of a name: one of a member in lower case, or "bilinear", "bicubic", ...

        Raises:
            ValueError: there is no such method.
        """
        for method, names in _NAMES.items():
            if s in names:
                return method
        raise ValueError(f"there is no method {s!r} to resize images; there are {', '.join(sum(_NAMES.values(), ()))}")


_NAMES: dict[ResizeMethod, tuple[str, ...]] = {
    ResizeMethod.NEAREST: ("nearest",),
    ResizeMethod.LINEAR: ("linear", "bilinear", "trilinear", "triangle"),
    ResizeMethod.LANCZOS3: ("lanczos3",),
    ResizeMethod.LANCZOS5: ("lanczos5",),
    ResizeMethod.CUBIC: ("cubic", "bicubic", "tricubic"),
    ResizeMethod.CUBIC_PYTORCH: ("cubic-pytorch", "bicubic-pytorch"),
    ResizeMethod.AREA: ("area",),
}

# Kernels of a distance that is not negative. `xp` is NumPy where the weights are known, else fdl.numpy.


def _triangle(xp: Any, x: Any) -> Any:
    return xp.maximum(0, 1 - x)


def _cubic(a: float) -> Callable[[Any, Any], Any]:
    """Keys' kernel with the slope `a` at distance 1 (Cubic convolution interpolation, 1981)."""

    def kernel(xp: Any, x: Any) -> Any:
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        return xp.where(x < 1, near, xp.where(x < 2, far, 0.0))

    return kernel


def _lanczos(radius: int) -> Callable[[Any, Any], Any]:
    """Lanczos' window of the sinc function."""

    def kernel(xp: Any, x: Any) -> Any:
        return xp.where(x > radius, 0.0, xp.sinc(x) * xp.sinc(x / radius))

    return kernel


_KERNELS: dict[ResizeMethod, Callable[[Any, Any], Any] | None] = {
    ResizeMethod.LINEAR: _triangle,
    ResizeMethod.LANCZOS3: _lanczos(3),
    ResizeMethod.LANCZOS5: _lanczos(5),
    ResizeMethod.CUBIC: _cubic(-0.5),
    ResizeMethod.CUBIC_PYTORCH: _cubic(-0.75),
    ResizeMethod.AREA: None,
}


def _weights(extent: int, size: int, scale: Any, shift: Any, method: ResizeMethod, antialias: bool, edges: bool) -> Any:
    """The weight [extent, size] of each pixel in each output pixel, along one axis.

    With `edges`, the pixels of the border are repeated outside; else what is outside has no weight.
    """
    known = not isinstance(scale, Value) and not isinstance(shift, Value)
    xp: Any = np if known else fnp
    dtype = np.float64 if known else result_type(scale, shift)
    step = 1.0 / scale
    outputs, inputs = np.arange(size, dtype=dtype), np.arange(extent, dtype=dtype)
    kernel = _KERNELS[method]
    centers = (outputs + 0.5) * step - shift * step - 0.5
    if kernel is None:
        left = outputs * step - shift * step
        overlap = xp.minimum(left + step, inputs[:, None] + 1) - xp.maximum(left, inputs[:, None])
        weights = xp.maximum(0, overlap)
    else:
        width = xp.maximum(step, 1.0) if antialias else 1.0
        margin = 2 if edges else 0
        places = np.arange(-margin, extent + margin, dtype=dtype)
        weights = kernel(xp, xp.abs(centers - places[:, None]) / width)
        if edges:
            inside = weights[margin : margin + extent]
            first, last = np.eye(extent)[:, :1], np.eye(extent)[:, -1:]
            outside = first * weights[:margin].sum(0) + last * weights[margin + extent :].sum(0)
            weights = inside + outside
    total = weights.sum(0)
    weights = xp.where(abs(total) > 1e-4, weights / xp.where(total != 0, total, 1), 0.0)
    return weights if edges else xp.where((centers >= -0.5) & (centers <= extent - 0.5), weights, 0.0)


def _method(method: str | ResizeMethod) -> ResizeMethod:
    return ResizeMethod.from_string(method) if isinstance(method, str) else ResizeMethod(method)


def _weighted(x: Array, shape: Sequence[int], axes: Sequence[int], weights: Sequence[Any]) -> Array:
    dtype = x.type.dtype if is_inexact(x.type.dtype) else result_type(x, 1.0)
    wide = accumulator(dtype)
    x = cast(x, wide)
    # First the axes that shrink most.
    for axis, w in sorted(zip(axes, weights, strict=True), key=lambda pair: shape[pair[0]] / x.type.shape[pair[0]]):
        matrix = cast(fnp.asarray(w), np.zeros((), wide).real.dtype)
        x = fnp.moveaxis(fnp.tensordot(x, cast(matrix, wide), ((axis,), (0,))), -1, axis)
    return cast(x, dtype)


def resize(
    image: ArrayLike,
    shape: Sequence[int],
    method: str | ResizeMethod,
    antialias: bool = True,
    precision: Any = None,
) -> Array:
    """An image of another size.

    Args:
        image: array of any number of axes.
        shape: of the result, with as many extents; axes whose extent stays are not touched.
        method: "nearest", "linear" (of any number of axes), "cubic" (Keys' kernel with a slope of -1/2), "lanczos3",
            "lanczos5", "area" (means of the pixels that an output pixel covers), or "cubic-pytorch" (as PyTorch's:
            without `antialias` a slope of -3/4 and repeated edges), or a :class:`ResizeMethod`.
        antialias: whether kernels are widened where the image shrinks; "nearest" and "area" ignore it.
        precision: accepted for ports.

    Returns:
        Array of `shape`; integers become the default float, but for "nearest".

    Raises:
        ShapeError: `shape` has another number of axes.
        ValueError: there is no such method.

    >>> resize(fnp.array([0.0, 2.0]), (4,), "linear")
    Array([0. , 0.5, 1.5, 2. ], dtype=float32)
    """
    x, chosen = number("image.resize", image), _method(method)
    sizes = integers("image.resize: shape", shape)
    if len(sizes) != x.type.ndim:
        raise ShapeError(f"image.resize: shape {sizes} must have an extent for each axis of the image, {x.type}")
    old = x.type.shape
    axes = [i for i, size in enumerate(sizes) if size != old[i]]
    if any(old[i] == 0 for i in axes):
        raise ShapeError(f"image.resize: the image {x.type} has no pixels to make {sizes} of")
    if chosen is ResizeMethod.NEAREST:
        for i in axes:
            x = fnp.take(x, np.floor((np.arange(sizes[i]) + 0.5) * old[i] / sizes[i]).astype(np.int32), axis=i)
        return x
    edges = chosen is ResizeMethod.CUBIC_PYTORCH and not antialias
    if chosen is ResizeMethod.CUBIC_PYTORCH and antialias:
        chosen = ResizeMethod.CUBIC
    weights = [
        _weights(old[i], sizes[i], sizes[i] / old[i] if sizes[i] else 1.0, 0.0, chosen, antialias, edges) for i in axes
    ]
    return _weighted(x, sizes, axes, weights)


def scale_and_translate(
    image: ArrayLike,
    shape: Sequence[int],
    spatial_dims: Sequence[int],
    scale: ArrayLike,
    translation: ArrayLike,
    method: str | ResizeMethod,
    antialias: bool = True,
    precision: Any = None,
) -> Array:
    """An image scaled and then moved, in an output of any size; derivatives by `scale` and `translation` exist.

    The pixel at place x, counted from the corner of the image, goes to ``x * scale + translation``.

    Args:
        image: array of any number of axes.
        shape: of the result, with as many extents.
        spatial_dims: k axes.
        scale: array [k], one factor for each of these axes.
        translation: array [k], in pixels of the output.
        method: as for :func:`resize`, but not "nearest".
        antialias: whether kernels are widened where the image shrinks.
        precision: accepted for ports.

    Returns:
        Array of `shape`; 0 where the image is not.

    Raises:
        ShapeError: the shapes do not fit.
        ValueError: there is no such method.

    >>> scale_and_translate(fnp.array([1.0, 2.0]), (4,), (0,), fnp.array([1.0]), fnp.array([1.0]), "linear")
    Array([0., 1., 2., 0.], dtype=float32)
    """
    x, chosen = number("image.scale_and_translate", image), _method(method)
    sizes = integers("image.scale_and_translate: shape", shape)
    if len(sizes) != x.type.ndim:
        raise ShapeError(f"image.scale_and_translate: shape {sizes} must have an extent for each axis of {x.type}")
    if chosen is ResizeMethod.NEAREST:
        raise ValueError("image.scale_and_translate: places between pixels have no nearest one that moves smoothly; "
                         "take another method, such as 'linear'")  # fmt: skip
    axes = [axis_index("image.scale_and_translate", d, x.type.ndim) for d in spatial_dims]
    scales, shifts = (number("image.scale_and_translate", v) for v in (scale, translation))
    if scales.type.shape != (len(axes),) or shifts.type.shape != (len(axes),):
        raise ShapeError(
            f"image.scale_and_translate: scale and translation need one number for each of {len(axes)} axes, got "
            f"{scales.type} and {shifts.type}"
        )
    if any(x.type.shape[d] == 0 for d in axes):
        raise ShapeError(f"image.scale_and_translate: the image {x.type} has no pixels to make {sizes} of")
    if len(set(axes)) != len(axes):
        raise ShapeError(f"image.scale_and_translate: an axis comes twice in spatial_dims={tuple(spatial_dims)}")
    scales, shifts = (cast(v, result_type(v, 1.0)) for v in (scales, shifts))
    weights = [
        _weights(x.type.shape[d], sizes[d], scales[i], shifts[i], chosen, antialias, False) for i, d in enumerate(axes)
    ]
    return _weighted(x, sizes, axes, weights)


def __dir__() -> list[str]:
    return __all__
