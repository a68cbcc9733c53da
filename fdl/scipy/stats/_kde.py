"""Density estimates from samples by Gaussian kernels."""

import math
from typing import Any

import fdl.numpy as fnp
from fdl import random
from fdl.core.types import Array
from fdl.errors import DtypeError, ShapeError
from fdl.scipy import linalg, special
from fdl.scipy._operands import inexact
from fdl.tree import register_pytree_node_class

__all__ = ["gaussian_kde"]


@register_pytree_node_class
class gaussian_kde:
    """A density made of a Gaussian around each sample; a pytree, whose leaves are its arrays.

    Args:
        dataset: real samples [n], or [d, n] of d numbers each.
        bw_method: bandwidth relative to the samples' deviation: "scott" (also None), "silverman", a number, or a
            function of this object.
        weights: of the samples [n]; None weighs them equally.

    Raises:
        ShapeError: fewer than two samples, or `weights` that do not fit.
        DtypeError: complex samples.
        ValueError: `bw_method` is none of these.

    >>> round(gaussian_kde(fnp.array([0.0, 1.0, 2.0])).pdf(1.0)[0].item(), 2)
    0.32
    """

    dataset: Array
    weights: Array
    neff: Array
    covariance: Array
    inv_cov: Array

    def __init__(self, dataset: Any, bw_method: Any = None, weights: Any = None):
        (data, *given) = inexact(dataset, *(() if weights is None else (weights,)))
        if data.dtype.kind == "c":
            raise DtypeError(f"gaussian_kde takes real samples, got {data.type}")
        self.dataset = data = fnp.atleast_2d(data)
        if data.ndim != 2 or data.size < 2:
            raise ShapeError(f"gaussian_kde needs two samples at least, [n] or [d, n], got {data.type}")
        if given:
            (given_weights,) = given
            given_weights = fnp.atleast_1d(given_weights)
            if given_weights.shape != (self.n,):
                raise ShapeError(f"gaussian_kde: weights {given_weights.type} do not fit {self.n} samples")
            self.weights = given_weights / fnp.sum(given_weights)
        else:
            self.weights = fnp.full((self.n,), 1 / self.n, data.dtype)
        self.neff = 1 / fnp.sum(fnp.square(self.weights))
        factor = self._factor("scott" if bw_method is None else bw_method)
        covariance = fnp.atleast_2d(fnp.cov(data, rowvar=True, bias=False, aweights=self.weights))
        self.covariance = covariance * factor**2
        self.inv_cov = fnp.linalg.inv(covariance) / factor**2

    def _factor(self, method: Any) -> Any:
        if callable(method):
            return method(self)
        if isinstance(method, str):
            if method not in ("scott", "silverman"):
                raise ValueError(
                    f"gaussian_kde takes bw_method 'scott', 'silverman', a number or a function, got {method!r}"
                )
            size = self.neff if method == "scott" else self.neff * (self.d + 2) / 4
            return size ** (-1 / (self.d + 4))
        if fnp.ndim(method) != 0:
            raise ValueError(f"gaussian_kde: bw_method must be one number, got shape {fnp.shape(method)}")
        return method

    def tree_flatten(self) -> tuple[tuple[Any, ...], None]:
        """The arrays, for :func:`fdl.tree.flatten`."""
        return (self.neff, self.dataset, self.weights, self.covariance, self.inv_cov), None

    @classmethod
    def tree_unflatten(cls, aux_data: None, children: Any) -> "gaussian_kde":
        """The density with these arrays."""
        self = cls.__new__(cls)
        self.neff, self.dataset, self.weights, self.covariance, self.inv_cov = children
        return self

    @property
    def d(self) -> int:
        """How many numbers a sample has."""
        return self.dataset.shape[0]

    @property
    def n(self) -> int:
        """How many samples there are."""
        return self.dataset.shape[1]

    def _exponents(self, points: Any) -> Array:
        """Logarithms of the samples' kernels [n, m] at m points."""
        (points,) = inexact(points)
        points = fnp.atleast_2d(points)
        if points.shape[0] != self.d:
            if points.shape != (1, self.d):
                raise ShapeError(f"points {points.type} do not fit samples of {self.d} numbers; they are [{self.d}, m]")
            points = points.reshape(self.d, 1)
        root = linalg.cholesky(self.inv_cov, lower=True)
        # The differences first: points far from zero lose nothing.
        apart = fnp.einsum("dnm,de->enm", self.dataset[:, :, None] - points[:, None, :], root)
        size = fnp.sum(fnp.log(fnp.diagonal(root))) - 0.5 * self.d * math.log(2 * math.pi)
        return size - 0.5 * fnp.sum(fnp.square(apart), axis=0)

    def evaluate(self, points: Any) -> Array:
        """The density at points.

        Args:
            points: [d, m], or [m] of one number each; one point [d].

        Returns:
            [m].
        """
        return fnp.sum(self.weights[:, None] * fnp.exp(self._exponents(points)), axis=0)

    __call__ = evaluate

    def pdf(self, x: Any) -> Array:
        """The density at points; see :meth:`evaluate`."""
        return self.evaluate(x)

    def logpdf(self, x: Any) -> Array:
        """The logarithm of the density at points, also where it is tiny; see :meth:`evaluate`."""
        return special.logsumexp(self._exponents(x), axis=0, b=self.weights[:, None])

    def _convolved(self, covariance: Array, means: Array) -> Array:
        """Densities of Gaussians with this covariance around the samples, weighed and summed, at the means [d, m]."""
        factor = linalg.cholesky(covariance, lower=True)
        apart = (self.dataset[:, :, None] - means[:, None, :]).reshape(self.d, -1)
        apart = linalg.solve_triangular(factor, apart, lower=True).reshape(self.d, self.n, -1)
        norm = (2 * math.pi) ** (self.d / 2) * fnp.prod(fnp.diagonal(factor))
        return fnp.einsum("n,nm->m", self.weights, fnp.exp(-0.5 * fnp.sum(fnp.square(apart), axis=0))) / norm

    def integrate_gaussian(self, mean: Any, cov: Any) -> Array:
        """The integral of the density times a Gaussian's.

        Args:
            mean: the Gaussian's [d].
            cov: its covariance [d, d].

        Returns:
            A number.

        Raises:
            ShapeError: they do not fit the samples.
        """
        mean, cov = fnp.atleast_1d(fnp.squeeze(fnp.asarray(mean))), fnp.atleast_2d(fnp.asarray(cov))
        if mean.shape != (self.d,) or cov.shape != (self.d, self.d):
            raise ShapeError(f"mean {mean.type} and cov {cov.type} do not fit samples of {self.d} numbers")
        return self._convolved(self.covariance + cov, mean[:, None])[0]

    def integrate_kde(self, other: "gaussian_kde") -> Array:
        """The integral of the product with another density.

        Args:
            other: a density of as many numbers.

        Returns:
            A number.

        Raises:
            ShapeError: it is of another number of numbers.
        """
        if other.d != self.d:
            raise ShapeError(f"the densities are of {self.d} and {other.d} numbers")
        return fnp.sum(other.weights * self._convolved(self.covariance + other.covariance, other.dataset))

    def integrate_box_1d(self, low: Any, high: Any) -> Array:
        """The probability of an interval; of samples of one number only.

        Args:
            low: lower end, a number.
            high: upper end, a number.

        Returns:
            A number.

        Raises:
            ShapeError: samples of several numbers, or ends that are not numbers.
        """
        if self.d != 1 or fnp.ndim(low) or fnp.ndim(high):
            raise ShapeError("integrate_box_1d needs samples of one number, and numbers as ends")
        scale = fnp.sqrt(self.covariance[0, 0])
        lower, upper = ((end - self.dataset[0]) / scale for end in (low, high))
        return fnp.sum(self.weights * (special.ndtr(upper) - special.ndtr(lower)))

    def resample(self, key: Any, shape: tuple[int, ...] = ()) -> Array:
        """Samples of the density.

        Args:
            key: random key.
            shape: how many.

        Returns:
            [d, *shape].
        """
        of_index, of_noise = random.split(key)
        index = random.choice(of_index, self.n, shape=shape, p=self.weights)
        noise = random.multivariate_normal(
            of_noise, fnp.zeros((self.d,), self.dataset.dtype), self.covariance, shape=shape, dtype=self.dataset.dtype
        )
        return self.dataset[:, index] + fnp.moveaxis(noise, -1, 0)

    def integrate_box(self, low_bounds: Any, high_bounds: Any, maxpts: Any = None) -> Array:
        """Not offered; :meth:`integrate_box_1d` integrates over an interval."""
        raise NotImplementedError("integrate_box is not offered; of samples of one number there is integrate_box_1d")

    def set_bandwidth(self, bw_method: Any = None) -> None:
        """Not offered: the object does not change; make another one."""
        raise NotImplementedError("set_bandwidth is not offered: a gaussian_kde does not change; make another one")
