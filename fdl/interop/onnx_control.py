"""ONNX's operators that hold graphs: branches and loops."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import lax, nn
from fdl.api.inspect import eval_shape
from fdl.api.vmap import vmap
from fdl.errors import ConcretizationError, InteropError
from fdl.interop.graph import Graph
from fdl.interop.onnx_conditions import known, steps_of
from fdl.interop.onnx_graph import dtype_of
from fdl.interop.tables import OperatorTable

#: Functions of (what evaluates an inner graph for its inputs, operands..., attributes).
TABLE = OperatorTable()
define = TABLE.define

Evaluate = Callable[[Graph, Sequence[Any]], tuple[Any, ...]]

#: Loops of so many steps at most are unrolled, so that shapes may depend on the number of a step.
UNROLLED = 16


def truth(value: Any) -> bool | None:
    """Whether a condition holds; None if that is known only at run time."""
    try:
        return bool(fnp.reshape(value, ())) if not known(value) else bool(np.asarray(value).reshape(()))
    except ConcretizationError:
        return None


@define("If")
def branch(evaluate: Evaluate, condition: Any, *, then_branch: Graph, else_branch: Graph) -> tuple[Any, ...]:
    if truth(condition) is not None:
        return evaluate(then_branch if truth(condition) else else_branch, ())

    def arrays(graph: Graph) -> Callable[[], tuple[Any, ...]]:
        return lambda: tuple(map(fnp.asarray, evaluate(graph, ())))

    return tuple(lax.cond(fnp.reshape(condition, ()), arrays(then_branch), arrays(else_branch)))


@define("Loop")
def loop(evaluate: Evaluate, trips: Any, condition: Any, *carry: Any, body: Graph) -> tuple[Any, ...]:
    count = None if trips is None or not known(trips) else int(np.asarray(trips).item())
    stacks = len(body.outputs) - 1 - len(carry)
    endless = known(condition) and (condition is None or bool(np.asarray(condition).item())) and goes_on(body)
    if not endless or count is None:
        count = steps_of(evaluate, trips, condition, carry, body)
    if count is not None:  # derivatives go both ways through these, and only forward through a while loop
        if count <= UNROLLED or grows(evaluate, carry, body):
            return unrolled(evaluate, count, carry, body)
        return counted(evaluate, count, carry, body)
    if stacks:
        return stepped(evaluate, trips, condition, carry, body)
    limit = fnp.asarray(np.iinfo(np.int32).max if trips is None else trips).astype(np.int32).reshape(())
    first = fnp.asarray(True if condition is None else condition).reshape(())

    def step(state: Any) -> Any:
        number, more, values = state
        more, *values = evaluate(body, (number, more, *values))
        return number + 1, fnp.asarray(more).reshape(()), tuple(map(fnp.asarray, values))

    start = (fnp.zeros((), np.int32), first, tuple(map(fnp.asarray, carry)))
    return tuple(lax.while_loop(lambda state: (state[0] < limit) & state[1], step, start)[2])


def goes_on(body: Graph) -> bool:
    """Whether the condition that a body returns is the one that it is given, or a constant that holds."""
    made = {node.outputs[0]: node for node in body.nodes}
    name = body.outputs[0]
    while name in made and made[name].operator == "Identity":
        name = made[name].args[0].name
    if name in body.constants:
        return bool(np.asarray(body.constants[name]).item())
    if name in made and made[name].operator == "Constant":
        value = made[name].attributes.get("value")
        return value is not None and bool(np.asarray(value).item())
    return name == body.inputs[1]


def grows(evaluate: Evaluate, carry: Sequence[Any], body: Graph) -> bool:
    """Whether a step changes the shapes of what it carries."""

    def step(number: Any, *values: Any) -> tuple[Any, ...]:
        return tuple(map(fnp.asarray, evaluate(body, (number, np.asarray(True), *values))[1 : 1 + len(carry)]))

    first = list(map(fnp.asarray, carry))
    after = eval_shape(step, fnp.zeros((), np.int32), *first)
    return any(a.shape != b.shape for a, b in zip(after, first, strict=True))


def unrolled(evaluate: Evaluate, count: int, carry: Sequence[Any], body: Graph) -> tuple[Any, ...]:
    """The carry after some steps, and what they give stacked."""
    rows = list[Sequence[Any]]()
    for number in range(count):
        _, *found = evaluate(body, (np.asarray(number), np.asarray(True), *carry))
        carry = found[: len(carry)]
        rows.append(found[len(carry) :])
    return stacked(carry, rows, body)


def stacked(carry: Sequence[Any], rows: Sequence[Sequence[Any]], body: Graph) -> tuple[Any, ...]:
    """The carry, and what the steps gave, stacked."""
    if not rows and len(body.outputs) - 1 > len(carry):
        raise InteropError("apply: a Loop of no steps has nothing to stack")
    return (*carry, *[fnp.stack(list(map(fnp.asarray, column))) for column in zip(*rows, strict=True)])


def stepped(evaluate: Evaluate, trips: Any, condition: Any, carry: Sequence[Any], body: Graph) -> tuple[Any, ...]:
    """The same for a loop whose end depends on numbers: they have to be known."""
    rows = list[Sequence[Any]]()
    try:
        count = np.iinfo(np.int64).max if trips is None else int(fnp.reshape(trips, ()))
        more = condition is None or bool(fnp.reshape(condition, ()))
        while more and len(rows) < count:
            condition, *found = evaluate(body, (np.asarray(len(rows)), np.asarray(True), *carry))
            carry, more = found[: len(carry)], bool(fnp.reshape(condition, ()))
            rows.append(found[len(carry) :])
    except ConcretizationError as error:
        raise InteropError(
            "apply: a Loop that stacks values must have a number of steps that is known, and no condition that depends "
            "on the numbers of an input; otherwise call apply outside of jit and vmap"
        ) from error
    return stacked(carry, rows, body)


def counted(evaluate: Evaluate, count: int, carry: Sequence[Any], body: Graph) -> tuple[Any, ...]:
    """The same as a scan over the numbers of the steps."""

    def step(values: Any, number: Any) -> Any:
        _, *found = evaluate(body, (number, np.asarray(True), *values))
        found = list(map(fnp.asarray, found))
        return tuple(found[: len(carry)]), tuple(found[len(carry) :])

    last, stacks = lax.scan(step, tuple(map(fnp.asarray, carry)), fnp.arange(count))
    return (*last, *stacks)


@define("Scan")
def scan(
    evaluate: Evaluate,
    *operands: Any,
    body: Graph,
    num_scan_inputs: int,
    scan_input_axes: Sequence[int] = (),
    scan_output_axes: Sequence[int] = (),
    scan_input_directions: Sequence[int] = (),
    scan_output_directions: Sequence[int] = (),
    directions: Sequence[int] = (),
) -> tuple[Any, ...]:
    if len(operands) == len(body.inputs) + 1:  # version 8, which has lengths, and scans each example of a batch

        def example(*values: Any) -> Any:
            return scan(evaluate, *values, body=body, num_scan_inputs=num_scan_inputs, scan_input_directions=directions)

        if operands[0] is not None:
            raise InteropError("apply: fdl does not scan sequences of different lengths; pad them, and use version 9")
        return tuple(vmap(example)(*map(fnp.asarray, operands[1:])))
    arrays = list(map(fnp.asarray, operands))
    carry, scanned = arrays[: len(arrays) - num_scan_inputs], arrays[len(arrays) - num_scan_inputs :]
    for number, (axis, backwards) in enumerate(each(len(scanned), scan_input_axes, scan_input_directions)):
        moved = fnp.moveaxis(scanned[number], axis, 0)
        scanned[number] = fnp.flip(moved, 0) if backwards else moved

    def step(values: Any, slices: Any) -> Any:
        found = list(map(fnp.asarray, evaluate(body, (*values, *slices))))
        return tuple(found[: len(carry)]), tuple(found[len(carry) :])

    last, stacks = lax.scan(step, tuple(carry), tuple(scanned))
    results = []
    for stack, (axis, backwards) in zip(
        stacks, each(len(stacks), scan_output_axes, scan_output_directions), strict=True
    ):
        results.append(fnp.moveaxis(fnp.flip(stack, 0) if backwards else stack, 0, axis))
    return (*last, *results)


def each(count: int, axes: Sequence[int], directions: Sequence[int]) -> list[tuple[int, int]]:
    """Axis and direction for each of some arrays, by default zero."""
    return list(zip(axes or [0] * count, directions or [0] * count, strict=True))


@define("ai.onnx.preview.FlexAttention")
def flex_attention(
    evaluate: Evaluate,
    q: Any,
    k: Any,
    v: Any,
    *,
    scale: float | None = None,
    score_mod: Graph | None = None,
    prob_mod: Graph | None = None,
    softmax_precision: int | None = None,
) -> tuple[Any, ...]:
    """Attention [batch, heads, length, size] whose scores and weights graphs may change."""
    groups = q.shape[1] // k.shape[1]
    if groups > 1:
        k, v = fnp.repeat(k, groups, axis=1), fnp.repeat(v, groups, axis=1)
    wide = np.float64 if q.dtype == np.float64 else np.float32
    dtype = wide if softmax_precision is None else dtype_of(softmax_precision)
    root = fnp.asarray(np.sqrt(q.shape[-1] ** -0.5 if scale is None else scale), q.dtype)
    scores = fnp.matmul(q * root, fnp.swapaxes(k * root, -1, -2)).astype(dtype)
    if score_mod is not None:
        scores = fnp.asarray(evaluate(score_mod, (scores,))[0]).astype(dtype)
    weights = nn.softmax(scores)
    if prob_mod is not None:
        weights = fnp.asarray(evaluate(prob_mod, (weights,))[0]).astype(dtype)
    return (fnp.matmul(weights, v.astype(dtype)).astype(v.dtype),)
