"""The transforms of Winograd's F(4x4, 3x3): of tiles of images, of windows, and of products to results.

A row of four results of three taps is the product of two polynomials, found from its values at six points (Toom and
Cook). The points 0, infinity and plus and minus the square roots of 1/2 and of 2 give small errors, since what is not
a square root in the transforms is exact. Two dimensions are one after the other.

Source: A. Lavin and S. Gray, "Fast Algorithms for Convolutional Neural Networks", 2016; B. Barabasz et al., "Error
Analysis and Improving the Accuracy of Winograd Convolution for Deep Neural Networks", 2020.
"""

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

from fdl.compile.kernels.kernel import shared_function
from fdl.compile.llvm.build import Build
from fdl.compile.llvm.values import Value
from fdl.dtypes import float32

#: Taps and results of a row, and points at which polynomials are multiplied: as many as elements of x are read.
TAPS, RESULTS, POINTS = 3, 4, 6

_NEAR, _FAR = math.sqrt(0.5), math.sqrt(2.0)

Line = Sequence[Value]


def of_data(b: Build, x: Line) -> Line:
    """The values at the points that six elements of x stand for."""
    near = _both(b, _NEAR, b.fma(-2.0, x[2], x[4]), b.fma(-2.0, x[1], x[3]))
    far = _both(b, _FAR, b.fma(-0.5, x[2], x[4]), b.fma(-0.5, x[1], x[3]))
    return [x[0] + b.fma(-2.5, x[2], x[4]), *near, *far, x[1] + b.fma(-2.5, x[3], x[5])]


def of_window(b: Build, w: Line) -> Line:
    """The values of three taps at the points, divided by what interpolation divides by."""
    near = _both(b, -2 / 3 * _NEAR, b.fma(-2 / 3, w[0], w[2] * (-1 / 3)), w[1])
    far = _both(b, 1 / 6 * _FAR, b.fma(1 / 6, w[0], w[2] * (1 / 3)), w[1])
    return [w[0], *near, *far, w[2]]


def to_results(b: Build, m: Line) -> Line:
    """Four results from the products at the points."""
    even, odd, far_even, far_odd = m[1] + m[2], m[1] - m[2], m[3] + m[4], m[3] - m[4]
    first = b.fma(_NEAR, odd, far_odd * _FAR)
    third = b.fma(_NEAR / 2, odd, far_odd * (2 * _FAR))
    return [m[0] + even + far_even, first, b.fma(0.5, even, far_even * 2.0), third + m[5]]


def _both(b: Build, root: float, even: Value, odd: Value) -> Line:
    """The values at a point and its negative."""
    return [b.fma(root, odd, even), b.fma(-root, odd, even)]


def _squared(b: Build, transform: Callable[[Build, Line], Line], square: Sequence[Line]) -> list[Value]:
    """A transform of all rows and then of all columns; the result by rows."""
    rows = [transform(b, row) for row in square]
    columns = [transform(b, column) for column in zip(*rows, strict=True)]
    return [value for row in zip(*columns, strict=True) for value in row]


def transform_data(
    b: Build, operands: Sequence[Any], corner: tuple[Value, Value], sizes: Sequence[Any], rest: int, inside: bool
) -> None:
    """Emit the call that transforms the tile of an image, all of its channels.

    Args:
        b: where the call goes.
        operands: pointers to the image, to zeros of all channels, and to where the first value of the tile goes.
        corner: position of the tile in the image, whose first element the pointer is at; it may be outside.
        sizes: extents of the image, its strides along both axes, channels that fill vectors, and the distance of the
            values at two points.
        rest: channels more, fewer than a vector has.
        inside: whether all of the tile is known to be inside.
    """

    def fill(b: Build, pointers: Sequence[Any], numbers: Sequence[Value]) -> None:
        (x, zeros, v), (top, left, height, width, down, along, channels, plane) = pointers, numbers
        lanes = b.target.lanes(float32)

        def places() -> list[list[Any]]:
            found = []
            for i, j in product(range(POINTS), repeat=2):
                y, z = top + i, left + j
                place = b.at(x, y * down + z * along, float32)
                if not inside:
                    there = (y >= 0) & (y < height) & (z >= 0) & (z < width)
                    place = b.ir.select(there.ir, place, zeros)
                found.append(place)
            return [found[n : n + POINTS] for n in range(0, len(found), POINTS)]

        read = places()

        def vector(c: Value, mask: Value | None) -> None:
            square = [[b.load(place, float32, c, lanes, mask=mask) for place in row] for row in read]
            for number, value in enumerate(_squared(b, of_data, square)):
                b.store(value, v, plane * number + c)

        with b.loop(0, channels, lanes) as c:
            vector(c, None)
        if rest:
            vector(channels, b.first_lanes(rest, lanes))

    name = f"winograd.data.{rest}.{inside}"
    b.call_function(shared_function(b, name, 3, 8, fill), [*operands, *corner, *sizes])


def transform_window(b: Build, w: Any, u: Any, sizes: Sequence[Any]) -> None:
    """Emit the call that transforms windows: each of nine matrices of weights becomes one for each pair of points.

    Args:
        b: where the call goes.
        w: pointer to the taps.
        u: pointer to the result.
        sizes: elements of a matrix, whole vectors, and distances of two matrices of w and of u.
    """

    def fill(b: Build, pointers: Sequence[Any], numbers: Sequence[Value]) -> None:
        (w, u), (count, tap, plane) = pointers, numbers
        lanes = b.target.lanes(float32)
        with b.loop(0, count, lanes) as e:
            taps = [b.load(w, float32, tap * n + e, lanes) for n in range(TAPS * TAPS)]
            square = [taps[n : n + TAPS] for n in range(0, len(taps), TAPS)]
            for number, value in enumerate(_squared(b, of_window, square)):
                b.store(value, u, plane * number + e)

    b.call_function(shared_function(b, "winograd.window", 2, 3, fill), [w, u, *sizes])


def transform_results(b: Build, m: Any, y: Any, sizes: Sequence[Any], columns: int) -> None:
    """Emit the call that makes the results of a tile of the products at all pairs of points.

    Args:
        b: where the call goes.
        m: pointer to the products.
        y: pointer to the first result.
        sizes: distance of the products at two points, strides of y along both axes, and how many rows and columns of
            results there are.
        columns: channels.
    """

    def fill(b: Build, pointers: Sequence[Any], numbers: Sequence[Value]) -> None:
        (m, y), (plane, down, along, height, width) = pointers, numbers
        lanes = b.target.lanes(float32)

        def vector(c: Value, mask: Value | None) -> None:
            values = [b.load(m, float32, plane * n + c, lanes) for n in range(POINTS * POINTS)]
            square = [values[n : n + POINTS] for n in range(0, len(values), POINTS)]
            found = _squared(b, to_results, square)
            places = [down * i + along * j + c for i in range(RESULTS) for j in range(RESULTS)]
            with b.if_else(b.eq(height, RESULTS) & b.eq(width, RESULTS)) as (whole, edge):
                with whole:
                    for value, place in zip(found, places, strict=True):
                        b.store(value, y, place, mask=mask)
                with edge:
                    for number, (value, place) in enumerate(zip(found, places, strict=True)):
                        i, j = divmod(number, RESULTS)
                        with b.if_((height > i) & (width > j)):
                            b.store(value, y, place, mask=mask)

        whole = columns // lanes * lanes
        if whole:
            with b.loop(0, whole, lanes) as c:
                vector(c, None)
        if columns > whole:
            vector(b.index(whole), b.first_lanes(columns - whole, lanes))

    name = f"winograd.results.{columns}"
    b.call_function(shared_function(b, name, 2, 5, fill), [m, y, *sizes])
