"""Angles about axes, one after the other, and the quaternions [x, y, z, w] of their rotations."""

import itertools
import re
from typing import Any

import fdl.numpy as fnp
from fdl.core.types import Array
from fdl.errors import ShapeError

__all__ = ["euler_of_quaternion", "product", "quaternion_of_euler"]


def _at_zero(function: Any, y: Array, x: Array) -> Array:
    """A function of two numbers that is 0 where both are, where its own derivatives would be NaN."""
    zero = (x == 0) & (y == 0)
    return fnp.where(zero, 0, function(y, fnp.where(zero, 1, x)))


def product(p: Array, q: Array) -> Array:
    """The quaternion of the rotation q followed by p; [..., 4], which broadcast."""
    v, w, u, s = p[..., :3], p[..., 3:], q[..., :3], q[..., 3:]
    vector = w * u + s * v + fnp.cross(v, u)
    return fnp.concatenate([vector, w * s - fnp.sum(v * u, -1, keepdims=True)], -1)


def _axes(name: str, seq: str, most: range) -> tuple[list[int], bool]:
    """The axes by number, and whether they stay where they are (extrinsic), not turn with the body."""
    if not isinstance(seq, str) or len(seq) not in most or not re.fullmatch("[xyz]+|[XYZ]+", seq):
        raise ValueError(
            f"{name}: seq must be {'three' if most[0] == 3 else 'one to three'} of 'xyz' (fixed axes) or of 'XYZ' "
            f"(axes that turn), got {seq!r}"
        )
    if any(a == b for a, b in itertools.pairwise(seq)):
        raise ValueError(f"{name}: neighbouring axes of seq must differ, got {seq!r}")
    return ["xyz".index(a) for a in seq.lower()], seq.islower()


def quaternion_of_euler(seq: str, angles: Array) -> Array:
    """[..., 4] of angles [..., len(seq)]; of one axis, also of a scalar."""
    axes, fixed = _axes("from_euler", seq, range(1, 4))
    if len(axes) == 1 and not angles.ndim:
        angles = angles[None]
    if not angles.ndim or angles.shape[-1] != len(axes):
        raise ShapeError(f"from_euler: {seq!r} needs angles [..., {len(axes)}], got {angles.type}")
    found = None
    for place, axis in enumerate(axes):
        half = angles[..., place] / 2
        zero = fnp.zeros_like(half)
        parts = [zero, zero, zero, fnp.cos(half)]
        parts[axis] = fnp.sin(half)
        turn = fnp.stack(parts, -1)
        found = turn if found is None else product(turn, found) if fixed else product(found, turn)
    assert found is not None
    return found


def euler_of_quaternion(seq: str, q: Array) -> Array:
    """[..., 3] of unit quaternions [..., 4]; where the middle angle leaves the others undetermined, the last one is 0.

    Source: Bernardes and Viollet 2022, "Quaternion to Euler angles conversion: a direct, general and computationally
    efficient method".
    """
    axes, fixed = _axes("as_euler", seq, range(3, 4))
    i, j, k = axes if fixed else axes[::-1]
    symmetric = i == k
    k = 3 - i - j if symmetric else k
    sign = (i - j) * (j - k) * (k - i) // 2
    x, y, z, w = q[..., i], q[..., j], q[..., k] * sign, q[..., 3]
    a, b, c, d = (w, x, y, z) if symmetric else (w - y, x + z, y + w, z - x)
    middle = 2 * fnp.arctan2(_at_zero(fnp.hypot, d, c), _at_zero(fnp.hypot, b, a))
    tiny = 1e-7 if q.dtype.itemsize == 8 else 1e-6
    at_zero, at_pi = middle <= tiny, fnp.abs(middle - fnp.pi) <= tiny
    total, difference = _at_zero(fnp.arctan2, b, a), _at_zero(fnp.arctan2, d, c)
    first, last = total - difference, (total + difference) * (1 if symmetric else sign)
    first, last = (first, last) if fixed else (last, first)
    first = fnp.where(at_zero, 2 * total, fnp.where(at_pi, 2 * difference * (-1 if fixed else 1), first))
    if not symmetric:
        middle = middle - fnp.pi / 2
        if not fixed:  # the sign above belongs to the angle that is the first one here
            first = fnp.where(at_zero | at_pi, first * sign, first)
    last = fnp.where(at_zero | at_pi, 0, last)
    angles = fnp.stack([first, middle, last], -1)
    angles = fnp.where(angles < -fnp.pi, angles + 2 * fnp.pi, angles)
    return fnp.where(angles > fnp.pi, angles - 2 * fnp.pi, angles)
