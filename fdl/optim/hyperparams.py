"""Hyper-parameters as part of the state, to be looked at and changed between steps without tracing again."""

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

import fdl.numpy as fnp
from fdl import tree
from fdl.array import Array
from fdl.core.trace import Tracer
from fdl.dtypes import int32
from fdl.optim.arguments import as_called
from fdl.optim.base import (
    GradientTransformation,
    GradientTransformationExtraArgs,
    Tree,
    increment,
    refuse_to_hide,
    with_extra_args_support,
)


class InjectHyperparamsState(NamedTuple):
    """Step count, the values of the last step by name, and state of the optimizer."""

    count: Any
    hyperparams: Any
    inner_state: Any


def inject_hyperparams(
    inner_factory: Callable[..., GradientTransformation],
    static_args: str | Iterable[str] = (),
    hyperparam_dtype: Any = None,
) -> Callable[..., GradientTransformation]:
    """Keep the numeric arguments of an optimizer in its state.

    ``state.hyperparams["learning_rate"]`` is the value of the last step. A number there may be replaced; an argument
    that is a function of the step count is computed anew in every step.

    Args:
        inner_factory: what makes the optimizer, such as :func:`adam`.
        static_args: names of arguments that stay as they are.
        hyperparam_dtype: of the values; None is the widest dtype of the parameters, at least float32.

    Returns:
        A function with the arguments of `inner_factory`, which makes the optimizer.

    Raises:
        ValueError: a name in `static_args` is no argument.

    >>> from fdl import optim
    >>> optimizer = inject_hyperparams(optim.sgd)(0.5)
    >>> state = optimizer.init(fnp.zeros(1))
    >>> state.hyperparams["learning_rate"] = fnp.asarray(0.25)
    >>> updates, state = optimizer.update(fnp.ones(1), state)
    >>> updates.tolist()
    [-0.25]
    """
    static = {static_args} if isinstance(static_args, str) else set(static_args)
    signature = inspect.signature(inner_factory)
    unknown = static - set(signature.parameters)
    if unknown:
        raise ValueError(
            f"inject_hyperparams: static_args has {sorted(unknown)}, which {getattr(inner_factory, '__name__', '')} "
            f"does not take; it takes {list(signature.parameters)}"
        )

    @functools.wraps(inner_factory)
    def make(*args: Any, **kwargs: Any) -> GradientTransformation:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        numbers, schedules, others = {}, {}, {}
        for name, value in bound.arguments.items():
            if name not in static and callable(value):
                schedules[name] = value
            elif name not in static and _is_number(value):
                numbers[name] = value
            else:
                others[name] = value

        def made(values: dict[str, Any]) -> GradientTransformationExtraArgs:
            inner = inner_factory(**others, **values)
            refuse_to_hide("inject_hyperparams", inner)
            return with_extra_args_support(inner)

        def dtype_of(params: Tree | None) -> Any:
            kinds = [x.dtype for x in map(fnp.asarray, tree.leaves(params)) if fnp.issubdtype(x.dtype, fnp.floating)]
            return hyperparam_dtype or functools.reduce(fnp.promote_types, kinds, np.dtype(np.float32))

        def init(params: Tree) -> InjectHyperparamsState:
            count, dtype = fnp.zeros((), int32), dtype_of(params)
            values = {name: _number(value, dtype) for name, value in numbers.items()}
            values |= {name: _number(f(count), dtype) for name, f in schedules.items()}
            return InjectHyperparamsState(count, values, made(values).init(params))

        def update(
            updates: Tree, state: InjectHyperparamsState, params: Tree | None = None, **extra: Any
        ) -> tuple[Tree, InjectHyperparamsState]:
            values = {
                name: _number(schedules[name](state.count) if name in schedules else value, fnp.asarray(value).dtype)
                for name, value in state.hyperparams.items()
            }
            updates, inner = made(values).update(updates, state.inner_state, params, **extra)
            return updates, InjectHyperparamsState(increment(state.count), values, inner)

        result = GradientTransformationExtraArgs(init, update)
        result.called = as_called(as_called("inject_hyperparams", inner_factory), *args, **kwargs)
        return result

    return make


inject_stateful_hyperparams = inject_hyperparams


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.ndarray, np.generic, Array, Tracer)) and not isinstance(value, bool)


def _number(value: Any, dtype: Any) -> Any:
    """An array; Python's floats in `dtype`, whole numbers in their own."""
    array = fnp.asarray(value)
    return array.astype(dtype) if fnp.issubdtype(array.dtype, fnp.floating) else array
