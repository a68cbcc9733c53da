"""checkpoint: functions whose inner values are computed again in the backward pass, and what is kept."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar, overload

from fdl import tree
from fdl.api.arguments import FlatFunction, flatten_values, name_of, weakness
from fdl.api.wrapping import update_wrapper, wraps
from fdl.array import as_array
from fdl.control.call import Call
from fdl.control.checkpoint import Either, Everything, KeptDots, KeptNames, Named, Remat
from fdl.control.custom import Rule
from fdl.core.trace import is_eager, trace_program
from fdl.dtypes import WEAK
from fdl.tracebacks import boundary

P = ParamSpec("P")
R = TypeVar("R")


@overload
def checkpoint(
    fun: Callable[P, R],
    *,
    prevent_cse: bool = True,
    policy: Callable[..., Any] | None = None,
    static_argnums: int | Sequence[int] = (),
    concrete: bool = False,
) -> Callable[P, R]: ...
@overload
def checkpoint(
    fun: None = None,
    *,
    prevent_cse: bool = True,
    policy: Callable[..., Any] | None = None,
    static_argnums: int | Sequence[int] = (),
    concrete: bool = False,
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
def checkpoint(
    fun: Callable[..., Any] | None = None,
    *,
    prevent_cse: bool = True,
    policy: Callable[..., Any] | None = None,
    static_argnums: int | Sequence[int] = (),
    concrete: bool = False,
) -> Callable[..., Any]:
    """`fun`, whose inner values are computed again in the backward pass instead of being kept.

    Args:
        fun: any function of arrays.
        prevent_cse: keep the compiler from merging both computations; False lets it.
        policy: one of :class:`fdl.checkpoint_policies`, or a function ``policy(operation, *types, **parameters)``, says
            results of which operations are kept; none by default. Loops and branches inside of `fun` are one operation
            each: use checkpoint inside of them to keep some of their values.
        static_argnums: positional arguments that are Python values.
        concrete: accepted for ports, and ignored.

    :func:`fdl.ad_checkpoint.print_saved_residuals` shows what is kept.

    Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.

    >>> import fdl, fdl.numpy as fnp
    >>> fdl.grad(fdl.checkpoint(lambda x: fnp.sin(fnp.sin(x))))(0.0)
    Array(1., dtype=float32)
    """
    if fun is None:
        return functools.partial(checkpoint, prevent_cse=prevent_cse, policy=policy, static_argnums=static_argnums)
    fixed = (static_argnums,) if isinstance(static_argnums, int) else tuple(static_argnums)
    keep = not prevent_cse or policy == checkpoint_policies.everything_saveable
    rule = None if policy == checkpoint_policies.nothing_saveable else policy
    if rule is not None and not isinstance(rule, (KeptDots, Either, Everything, KeptNames)):
        rule = Rule(rule)

    @boundary
    @wraps(fun)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if is_eager():
            return tree.map(lambda out: as_array(out) if type(out) in WEAK else out, fun(*args, **kwargs))
        static = {n % len(args): args[n] for n in fixed}

        def partly(*parts: Any, **kwargs: Any) -> Any:
            rest = iter(parts)
            return fun(*(static[n] if n in static else next(rest) for n in range(len(args))), **kwargs)

        update_wrapper(partly, fun, updated=())
        leaves, structure = flatten_values(partly, [a for n, a in enumerate(args) if n not in static], kwargs)
        flat = FlatFunction(partly, structure, weak=weakness(leaves))
        held = [v.held for v in leaves]
        program, captured = trace_program(flat, [v.type for v in held], name_of(fun))
        call = Call(program, name_of(fun)) if keep else Remat(program, name_of(fun), policy=rule)
        return flat.unflatten(call(*captured, *held))

    return wrapped


remat = checkpoint


def checkpoint_name(x: Any, name: str) -> Any:
    """`x` itself, under a name that policies of :func:`checkpoint` know it by.

    Args:
        x: a pytree of arrays.
        name: any text.

    Returns:
        A pytree like `x`.

    >>> import fdl, fdl.numpy as fnp
    >>> from fdl.ad_checkpoint import checkpoint_name, print_saved_residuals
    >>> def f(x):
    ...     return fnp.sin(checkpoint_name(fnp.exp(x), "kept")) ** 2
    >>> policy = fdl.checkpoint_policies.save_only_these_names("kept")
    >>> print_saved_residuals(fdl.checkpoint(f, policy=policy), fnp.ones(3))  # doctest: +ELLIPSIS
    f32[3] named 'kept' from ...
    """
    if is_eager():
        return tree.map(as_array, x)

    def one(leaf: Any) -> Any:
        value = as_array(leaf, f"the value named {name!r}")
        return Named(trace_program(lambda v: [v], [value.type])[0], name)(value)[0]

    return tree.map(one, x)


class checkpoint_policies:
    """What :func:`checkpoint` keeps, as functions of an operation.

    >>> import fdl, fdl.numpy as fnp
    >>> policy = fdl.checkpoint_policies.dots_with_no_batch_dims_saveable
    >>> layer = fdl.checkpoint(lambda w, x: fnp.tanh(w @ x), policy=policy)
    >>> fdl.ad_checkpoint.print_saved_residuals(layer, fnp.ones((2, 3)), fnp.ones(3))  # doctest: +ELLIPSIS
    f32[2,3] from the argument w
    f32[3] from the argument x
    f32[2] output of dot_general from ...
    """

    everything_saveable = Everything(True)
    nothing_saveable = Everything(False)
    dots_saveable = KeptDots(True)
    checkpoint_dots = dots_saveable
    dots_with_no_batch_dims_saveable = KeptDots(False)
    checkpoint_dots_with_no_batch_dims = dots_with_no_batch_dims_saveable

    @staticmethod
    def save_only_these_names(*names_which_can_be_saved: str) -> KeptNames:
        """Keep values that :func:`checkpoint_name` gave one of these names."""
        return KeptNames(names_which_can_be_saved)

    @staticmethod
    def save_any_names_but_these(*names_not_to_save: str) -> KeptNames:
        """Keep values with a name, but for these names."""
        return KeptNames(names_not_to_save, others=True)

    @staticmethod
    def save_anything_except_these_names(*names_not_to_save: str) -> Any:
        """Keep all values, but for those with these names."""

        def policy(operation: Any, *_: Any, **__: Any) -> bool:
            return not (isinstance(operation, Named) and operation.label in names_not_to_save)

        return policy

    @staticmethod
    def save_from_both_policies(policy_1: Callable[..., Any], policy_2: Callable[..., Any]) -> Any:
        """Keep what one of two policies keeps."""
        return Either(policy_1, policy_2)

    @staticmethod
    def save_and_offload_only_these_names(
        *, names_which_can_be_saved: Any, names_which_can_be_offloaded: Any, offload_src: str, offload_dst: str
    ) -> Any:
        """Refused: there is one memory.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            f"save_and_offload_only_these_names: fdl computes in the machine's memory ({offload_dst!r} and "
            f"{offload_src!r} are one), so nothing can be offloaded; use save_only_these_names"
        )

    @staticmethod
    def offload_dot_with_no_batch_dims(offload_src: str, offload_dst: str) -> Any:
        """Refused: there is one memory.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            f"offload_dot_with_no_batch_dims: fdl computes in the machine's memory ({offload_dst!r} and "
            f"{offload_src!r} are one), so nothing can be offloaded; use dots_with_no_batch_dims_saveable"
        )
