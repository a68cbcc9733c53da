"""Rotations of space, under the names of ``scipy.spatial.transform``."""

from collections.abc import Iterator, Sequence
from typing import Any

import fdl.numpy as fnp
from fdl import dtypes, random, tree
from fdl.core.types import Array
from fdl.errors import DtypeError, ShapeError
from fdl.numpy._operands import integer
from fdl.scipy._operands import check_ascending, inexact
from fdl.scipy.spatial._euler import euler_of_quaternion, product, quaternion_of_euler

__all__ = ["Rotation", "Slerp"]


def _vectors(name: str, x: Any, *shape: int) -> Array:
    """An operand whose last axes have a given shape."""
    (found,) = inexact(x)
    if found.dtype.kind == "c" or found.shape[-len(shape) :] != shape:
        raise ShapeError(f"{name} needs real numbers [..., {', '.join(map(str, shape))}], got {found.type}")
    return found


def _square(v: Array) -> Array:
    return fnp.sum(fnp.square(v), -1, keepdims=True)


def _unit(q: Array) -> Array:
    return q / fnp.sqrt(_square(q))


def _times(given: Any, dtype: Any) -> Array:
    """Times in their own floating dtype, if that has more digits than `dtype`."""
    own = fnp.result_type(dtype, *([given] if hasattr(given, "dtype") else []))
    if own.kind == "c":
        raise DtypeError(f"Slerp: times must be real, got {fnp.asarray(given).type}")
    return fnp.asarray(given, own)


def _check_stacks(name: str, shape: tuple[int, ...], other: tuple[int, ...], what: str) -> None:
    if shape and other and 1 not in (shape[-1], other[-1]) and shape[-1] != other[-1]:
        raise ShapeError(f"Rotation.{name}: {shape[-1]} rotations do not fit {other[-1]} {what}; give as many, or one")


@tree.register_pytree_node_class
class Rotation:
    """Rotations of space, held as unit quaternions: one, or a stack of them; a tree of one array.

    Args:
        quat: [4] or [n, 4], of length 1: x, y, z and w, the real part. :meth:`from_quat` takes any length.

    >>> r = Rotation.from_euler("z", 90, degrees=True)
    >>> r.apply(fnp.array([1.0, 0.0, 0.0])).round(3).tolist()
    [0.0, 1.0, 0.0]
    >>> (r * r).as_rotvec(degrees=True).round(3).tolist()
    [0.0, 0.0, 180.0]
    """

    quat: Array

    def __init__(self, quat: Any) -> None:
        """Take quaternions as they are."""
        self.quat = _vectors("Rotation", quat, 4)

    @classmethod
    def _of(cls, quat: Any) -> "Rotation":
        made = object.__new__(cls)
        made.quat = quat
        return made

    def tree_flatten(self) -> tuple[Any, None]:
        """The quaternions."""
        return (self.quat,), None

    @classmethod
    def tree_unflatten(cls, _: None, children: Any) -> "Rotation":
        """What `tree_flatten` took apart."""
        return cls._of(children[0])

    @classmethod
    def concatenate(cls, rotations: Sequence["Rotation"]) -> "Rotation":
        """Rotations, and stacks of them, in one stack."""
        for r in rotations:
            if not isinstance(r, Rotation):
                raise TypeError(f"Rotation.concatenate needs a sequence of Rotations, got {r!r} among them")
        return cls._of(fnp.concatenate([fnp.atleast_2d(r.quat) for r in rotations]))

    @classmethod
    def from_euler(cls, seq: str, angles: Any, degrees: bool = False) -> "Rotation":
        """Rotations about axes, one after the other.

        Args:
            seq: one to three of "xyz", axes that stay, or of "XYZ", axes that turn with the body.
            angles: [..., len(seq)]; of one axis, also a scalar.
            degrees: whether these are degrees, not radians.

        >>> Rotation.from_euler("xy", [90, 90], degrees=True).as_quat().round(3).tolist()
        [0.5, 0.5, -0.5, 0.5]
        """
        (given,) = inexact(angles)
        return cls._of(quaternion_of_euler(seq, fnp.deg2rad(given) if degrees else given))

    @classmethod
    def from_matrix(cls, matrix: Any) -> "Rotation":
        """Rotations of orthogonal matrices [..., 3, 3] of determinant 1. Source: Shepperd 1978.

        >>> Rotation.from_matrix(fnp.eye(3)).as_quat().tolist()
        [0.0, 0.0, 0.0, 1.0]
        """
        m = _vectors("from_matrix", matrix, 3, 3)
        a, b, c = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
        trace = a + b + c
        xy, xz, yz = (m[..., i, j] + m[..., j, i] for i, j in ((0, 1), (0, 2), (1, 2)))
        x, y, z = (m[..., j, i] - m[..., i, j] for i, j in ((1, 2), (2, 0), (0, 1)))
        # Each row is the quaternion times one of its entries; the largest one loses no digits.
        rows = [
            [1 - trace + 2 * a, xy, xz, x],
            [xy, 1 - trace + 2 * b, yz, y],
            [xz, yz, 1 - trace + 2 * c, z],
            [x, y, z, 1 + trace],
        ]
        table = fnp.stack([fnp.stack(row, -1) for row in rows], -2)
        largest = fnp.argmax(fnp.stack([a, b, c, trace], -1), -1)
        return cls._of(_unit(fnp.take_along_axis(table, largest[..., None, None], -2)[..., 0, :]))

    @classmethod
    def from_mrp(cls, mrp: Any) -> "Rotation":
        """Rotations of modified Rodrigues parameters [..., 3]: the axis times the tangent of a quarter of the angle.

        >>> Rotation.from_mrp([0.0, 0.0, 1.0]).as_rotvec(degrees=True).tolist()
        [0.0, 0.0, 180.0]
        """
        v = _vectors("from_mrp", mrp, 3)
        return cls._of(fnp.concatenate([2 * v, 1 - _square(v)], -1) / (1 + _square(v)))

    @classmethod
    def from_quat(cls, quat: Any, *, scalar_first: bool = False) -> "Rotation":
        """Rotations of quaternions [..., 4] of any length but 0, which gives NaN.

        >>> Rotation.from_quat([0.0, 0.0, 2.0, 0.0]).as_quat().tolist()
        [0.0, 0.0, 1.0, 0.0]
        """
        q = _vectors("from_quat", quat, 4)
        return cls._of(_unit(fnp.roll(q, -1, -1) if scalar_first else q))

    @classmethod
    def from_rotvec(cls, rotvec: Any, degrees: bool = False) -> "Rotation":
        """Rotations of vectors [..., 3] that are the axis times the angle.

        >>> Rotation.from_rotvec([0.0, 60.0, 0.0], degrees=True).as_rotvec(degrees=True).round(3).tolist()
        [0.0, 60.0, 0.0]
        """
        v = _vectors("from_rotvec", rotvec, 3)
        v = fnp.deg2rad(v) if degrees else v
        square = _square(v)
        small = square < 1e-4  # series, whose derivatives are finite at 0
        angle = fnp.sqrt(fnp.where(small, 1, square))
        scale = fnp.where(small, 0.5 - square / 48 + fnp.square(square) / 3840, fnp.sin(angle / 2) / angle)
        real = fnp.where(small, 1 - square / 8 + fnp.square(square) / 384, fnp.cos(angle / 2))
        return cls._of(fnp.concatenate([scale * v, real], -1))

    @classmethod
    def identity(cls, num: int | None = None, dtype: Any = float) -> "Rotation":
        """No rotation, or a stack of `num` of them."""
        one = fnp.array([0.0, 0.0, 0.0, 1.0], dtypes.default_dtype(float) if dtype is float else dtype)
        (one,) = inexact(one)
        return cls._of(one if num is None else fnp.broadcast_to(one, (integer("identity: num", num), 4)))

    @classmethod
    def random(cls, random_key: Array, num: int | None = None) -> "Rotation":
        """A rotation, or a stack of `num`, uniform among all; `random_key` is one of :func:`fdl.random.key`."""
        return cls._of(_unit(random.normal(random_key, (4,) if num is None else (num, 4))))

    def __getitem__(self, indexer: Any) -> "Rotation":
        """Some rotations of a stack."""
        if self.single:
            raise TypeError("a single Rotation has no items; stack rotations with Rotation.concatenate")
        return self._of(self.quat[indexer])

    def __len__(self) -> int:
        """How many rotations a stack has."""
        if self.single:
            raise TypeError("a single Rotation has no len(); stack rotations with Rotation.concatenate")
        return self.quat.shape[0]

    def __iter__(self) -> Iterator["Rotation"]:
        """The rotations of a stack."""
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        """A rotation is no condition; it is true, as any object."""
        return True

    def __mul__(self, other: "Rotation") -> "Rotation":
        """The rotation `other` followed by this one."""
        if not isinstance(other, Rotation):
            return NotImplemented
        _check_stacks("*", self.quat.shape[:-1], other.quat.shape[:-1], "rotations")
        return self._of(_unit(product(self.quat, other.quat)))

    def __repr__(self) -> str:
        """The quaternions."""
        return f"Rotation(quat={self.quat!r})"

    def apply(self, vectors: Any, inverse: bool = False) -> Array:
        """Vectors [..., 3], turned, or turned back.

        >>> Rotation.from_euler("x", 90, degrees=True).apply([0.0, 1.0, 0.0], inverse=True).round(3).tolist()
        [0.0, 0.0, -1.0]
        """
        v, m = _vectors("apply", vectors, 3), self.as_matrix()
        _check_stacks("apply", self.quat.shape[:-1], v.shape[:-1], "vectors")
        m = fnp.where(fnp.asarray(inverse), fnp.swapaxes(m, -1, -2), m)
        return fnp.sum(m * v[..., None, :], -1)

    def as_euler(self, seq: str, degrees: bool = False) -> Array:
        """Angles [..., 3] about three axes; see :meth:`from_euler`.

        The middle one is in [-pi / 2, pi / 2], or [0, pi] where the first and the last axis are the same. Where it is
        at an end the others are not determined, and the last one is 0.

        >>> Rotation.from_rotvec([0.0, 0.0, 1.0]).as_euler("zxz").round(3).tolist()
        [1.0, 0.0, 0.0]
        """
        angles = euler_of_quaternion(seq, self.quat)
        return fnp.rad2deg(angles) if degrees else angles

    def as_matrix(self) -> Array:
        """Matrices [..., 3, 3]."""
        x, y, z, w = (self.quat[..., i] for i in range(4))
        xx, yy, zz, ww = x * x, y * y, z * z, w * w
        xy, xz, yz, xw, yw, zw = x * y, x * z, y * z, x * w, y * w, z * w
        rows = [
            [xx - yy - zz + ww, 2 * (xy - zw), 2 * (xz + yw)],
            [2 * (xy + zw), yy - xx - zz + ww, 2 * (yz - xw)],
            [2 * (xz - yw), 2 * (yz + xw), zz - xx - yy + ww],
        ]
        return fnp.stack([fnp.stack(row, -1) for row in rows], -2)

    def as_mrp(self) -> Array:
        """Modified Rodrigues parameters [..., 3], of at most length 1."""
        q = self._up()
        return q[..., :3] / (1 + q[..., 3:])

    def as_quat(self, canonical: bool = False, scalar_first: bool = False) -> Array:
        """Quaternions [..., 4].

        Args:
            canonical: whether to take that one of q and -q whose w is positive, or the first entry if that is 0.
            scalar_first: w, x, y, z instead of x, y, z, w.
        """
        q = self.quat
        if canonical:
            x, y, z, w = (q[..., i : i + 1] for i in range(4))
            leading = fnp.where(w != 0, w, fnp.where(x != 0, x, fnp.where(y != 0, y, z)))
            q = fnp.where(leading < 0, -q, q)
        return fnp.roll(q, 1, -1) if scalar_first else q

    def as_rotvec(self, degrees: bool = False) -> Array:
        """Vectors [..., 3] of at most length pi: the axis times the angle.

        >>> Rotation.from_rotvec([0.0, 0.0, 0.5]).as_rotvec().round(3).tolist()
        [0.0, 0.0, 0.5]
        """
        q = self._up()
        v, w = q[..., :3], q[..., 3:]
        square = _square(v)
        small = square < 1e-6  # series, whose derivatives are finite at 0
        sine = fnp.sqrt(fnp.where(small, 1, square))
        scale = fnp.where(small, 2 + square / 3 + 3 * fnp.square(square) / 20, 2 * fnp.arctan2(sine, w) / sine)
        found = scale * v
        return fnp.rad2deg(found) if degrees else found

    def _up(self) -> Array:
        """That one of q and -q whose real part is not negative."""
        return fnp.where(self.quat[..., 3:] < 0, -self.quat, self.quat)

    def inv(self) -> "Rotation":
        """The rotations back."""
        return self._of(fnp.concatenate([-self.quat[..., :3], self.quat[..., 3:]], -1))

    def magnitude(self) -> Array:
        """Angles [...], between 0 and pi."""
        v = self.quat[..., :3]
        zero = fnp.all(v == 0, -1)  # where the derivative of the norm would be NaN
        sine = fnp.where(zero, 0, fnp.linalg.norm(fnp.where(zero[..., None], 1, v), axis=-1))
        return 2 * fnp.arctan2(sine, fnp.abs(self.quat[..., 3]))

    def mean(self, weights: Any = None) -> "Rotation":
        """The rotation with the least sum of squared distances of matrices to those of a stack.

        Args:
            weights: [n], not negative; None for equal ones.

        Raises:
            ShapeError: weights are not as many as rotations.

        Source: Markley et al. 2007, "Averaging quaternions".
        """
        n = len(self)
        w = fnp.ones(n, self.quat.dtype) if weights is None else fnp.asarray(weights, self.quat.dtype)
        if w.shape != (n,):
            raise ShapeError(f"mean: weights of {n} rotations must be a vector of as many, got {w.type}")
        return self._of(fnp.linalg.eigh((w * self.quat.T) @ self.quat)[1][:, -1].astype(self.quat.dtype))

    @property
    def single(self) -> bool:
        """Whether this is one rotation, not a stack."""
        return self.quat.ndim == 1


@tree.register_pytree_node_class
class Slerp:
    """Rotations between rotations at given times, at constant speed about one axis; a tree.

    Args:
        times: [n], strictly ascending.
        rotations: a stack of n, at least two.

    Raises:
        TypeError: `rotations` is no Rotation.
        ShapeError: they are not as many as times, or fewer than two.
        RangeError: times that are known are not ascending.
        DtypeError: times are complex.

    >>> turns = Rotation.from_euler("z", [[0], [90]], degrees=True)
    >>> Slerp([0.0, 1.0], turns)(0.5).as_rotvec(degrees=True).round(3).tolist()
    [0.0, 0.0, 45.0]
    """

    def __init__(self, times: Any, rotations: Rotation) -> None:
        """Take the vectors of the rotations from one to the next."""
        if not isinstance(rotations, Rotation):
            raise TypeError(f"Slerp: rotations must be a Rotation, got {type(rotations).__name__}")
        if rotations.single or len(rotations) < 2:
            raise ShapeError(f"Slerp needs at least two rotations, got quaternions {rotations.quat.type}")
        self.times = _times(times, rotations.quat.dtype)
        if self.times.shape != (len(rotations),):
            raise ShapeError(f"Slerp needs a time for each of {len(rotations)} rotations, got {self.times.type}")
        check_ascending("Slerp: times", self.times)
        self.rotations = rotations[:-1]
        self.rotvecs = (self.rotations.inv() * rotations[1:]).as_rotvec()

    def __repr__(self) -> str:
        return f"Slerp(times={self.times!r}, from {self.rotations!r})"

    @classmethod
    def init(cls, times: Any, rotations: Rotation) -> "Slerp":
        """The same as the class, under JAX's name."""
        return cls(times, rotations)

    @property
    def timedelta(self) -> Array:
        """[n - 1], from each time to the next."""
        return fnp.diff(self.times)

    def __call__(self, times: Any) -> Rotation:
        """Rotations at times, a number or a vector; beyond the ends the outermost motions go on.

        Raises:
            ShapeError: times have more axes.
        """
        t = _times(times, self.times.dtype)
        if t.ndim > 1:
            raise ShapeError(f"Slerp takes a time or a vector of them, got {t.type}")
        place = fnp.clip(fnp.searchsorted(self.times.astype(t.dtype), t) - 1, 0, self.times.size - 2)
        share = ((t - self.times[place]) / self.timedelta[place]).astype(self.rotvecs.dtype)
        return Rotation._of(self.rotations.quat[place]) * Rotation.from_rotvec(self.rotvecs[place] * share[..., None])

    def tree_flatten(self) -> tuple[Any, None]:
        """The times, the rotations but for the last one, and the vectors."""
        return (self.times, self.rotations, self.rotvecs), None

    @classmethod
    def tree_unflatten(cls, _: None, children: Any) -> "Slerp":
        """What `tree_flatten` took apart."""
        made = object.__new__(cls)
        made.times, made.rotations, made.rotvecs = children
        return made


def __dir__() -> list[str]:
    return __all__
