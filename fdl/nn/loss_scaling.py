"""Loss scales: factors of a loss that keep its gradients within the range of float16."""

from typing import Any, NamedTuple

import fdl.numpy as fnp
from fdl import tree
from fdl.core.types import Array
from fdl.dtypes import FLOATING
from fdl.errors import TreeError


class NoOpLossScale(NamedTuple):
    """Stands where a scale may be, and changes nothing.

    >>> NoOpLossScale().scale(3.0), NoOpLossScale().adjust(True)
    (3.0, NoOpLossScale())
    """

    @property
    def loss_scale(self) -> float:
        """1."""
        return 1.0

    def scale(self, values: Any) -> Any:
        """`values` itself."""
        return values

    def unscale(self, values: Any) -> Any:
        """`values` itself."""
        return values

    def adjust(self, grads_finite: Any) -> "NoOpLossScale":
        """Itself."""
        return self


class StaticLossScale(NamedTuple):
    """A factor that stays; a pytree.

    Attributes:
        loss_scale: a positive number; powers of two change no bit of the gradient.

    >>> scale = StaticLossScale(1024.0)
    >>> scale.scale(fnp.ones(1)).item(), scale.unscale({"w": fnp.ones(1)})["w"].item()
    (1024.0, 0.0009765625)
    """

    loss_scale: Any

    def scale(self, values: Any) -> Any:
        """The floats of a pytree, such as the loss, times the scale."""
        return _times(values, self.loss_scale)

    def unscale(self, values: Any) -> Any:
        """The floats of a pytree, such as gradients, over the scale."""
        return _times(values, 1 / fnp.asarray(self.loss_scale, "float32"))

    def adjust(self, grads_finite: Any) -> "StaticLossScale":
        """Itself."""
        return self


class DynamicLossScale(NamedTuple):
    """A factor that halves when a gradient is not finite, and doubles when none was for a while; a pytree of scalars.

    Attributes:
        loss_scale: the factor; a power of two changes no bit of the gradient.
        counter: steps since it changed.
        period: steps without overflow after which it grows.
        factor: by which it grows and shrinks.
        min_loss_scale: below which it does not fall.

    Source: Micikevicius et al., "Mixed Precision Training", 2018.

    >>> import fdl
    >>> from fdl import nn, optim
    >>> optimizer = optim.sgd(0.5)
    >>> @fdl.jit
    ... def step(params, state, scale, x):
    ...     loss = nn.mixed_precision(lambda params: scale.scale(fnp.sum(x @ params)), "float16")
    ...     grads = scale.unscale(fdl.grad(loss)(params))
    ...     finite = all_finite(grads)
    ...     updates, after = optimizer.update(grads, state, params)
    ...     made = optim.apply_updates(params, updates)
    ...     params, state = select_tree(finite, (made, after), (params, state))
    ...     return params, state, scale.adjust(finite)
    >>> params, state, scale = fnp.zeros(2), optimizer.init(fnp.zeros(2)), DynamicLossScale(2.0**16)
    >>> for _ in range(2):  # 65536 is beyond the largest float16
    ...     params, state, scale = step(params, state, scale, fnp.ones((1, 2)))
    >>> scale.loss_scale.item(), params.tolist()
    (32768.0, [-0.5, -0.5])
    """

    loss_scale: Any
    counter: Any = 0
    period: Any = 2000
    factor: Any = 2
    min_loss_scale: Any = 1

    def scale(self, values: Any) -> Any:
        """The floats of a pytree, such as the loss, times the scale."""
        return _times(values, self.loss_scale)

    def unscale(self, values: Any) -> Any:
        """The floats of a pytree, such as gradients, over the scale."""
        return _times(values, 1 / fnp.asarray(self.loss_scale, "float32"))

    def adjust(self, grads_finite: Any) -> "DynamicLossScale":
        """The scale of the next step.

        Args:
            grads_finite: bool scalar; whether the gradients of this step were, see :func:`all_finite`.
        """
        scale = fnp.asarray(self.loss_scale, "float32")
        counter = fnp.asarray(self.counter, "int32")
        grows = counter >= fnp.asarray(self.period, "int32") - 1
        larger = scale * self.factor
        grown = fnp.where(grows & fnp.isfinite(larger), larger, scale)
        shrunk = fnp.maximum(scale / self.factor, fnp.asarray(self.min_loss_scale, "float32"))
        following = fnp.where(grows, 0, counter + 1)
        return self._replace(
            loss_scale=fnp.where(grads_finite, grown, shrunk),
            counter=fnp.where(grads_finite, following, 0).astype("int32"),
        )


def all_finite(values: Any) -> Array:
    """Whether all floats of a pytree are finite: a bool scalar.

    Args:
        values: a pytree of arrays; integers are finite.

    >>> all_finite({"w": fnp.ones(3), "n": fnp.arange(2)}).item(), all_finite(fnp.array([fnp.inf])).item()
    (True, False)
    """
    found = fnp.asarray(True)
    for leaf in map(fnp.asarray, tree.leaves(values)):
        if leaf.dtype in FLOATING:
            found = found & fnp.all(fnp.isfinite(leaf))
    return found


def select_tree(pred: Any, on_true: Any, on_false: Any) -> Any:
    """One of two pytrees, by a bool scalar that may be traced.

    Args:
        pred: bool scalar.
        on_true, on_false: pytrees of equal structure, shapes and dtypes.

    Returns:
        A pytree like them.

    Raises:
        TreeError: their structures differ.

    >>> select_tree(fnp.asarray(False), {"w": fnp.ones(1)}, {"w": fnp.zeros(1)})["w"].tolist()
    [0.0]
    """
    if tree.structure(on_true) != tree.structure(on_false):
        raise TreeError(
            "select_tree needs two pytrees of one structure, got "
            f"{tree.structure(on_true)} and {tree.structure(on_false)}"
        )
    return tree.map(lambda a, b: fnp.where(pred, a, b), on_true, on_false)


def _times(values: Any, factor: Any) -> Any:
    """The floats of a pytree times a factor, in their own dtype."""

    def one(leaf: Any) -> Any:
        leaf = fnp.asarray(leaf)
        return (leaf * factor).astype(leaf.dtype) if leaf.dtype in FLOATING else leaf

    return tree.map(one, values)
