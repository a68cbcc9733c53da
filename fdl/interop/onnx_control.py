"""ONNX's operators that hold graphs: branches and loops."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import lax
from fdl.api.vmap import vmap
from fdl.errors import InteropError
from fdl.interop.graph import Graph
from fdl.interop.tables import OperatorTable

#: Functions of (what evaluates an inner graph for its inputs, operands..., attributes).
TABLE = OperatorTable()
define = TABLE.define

Evaluate = Callable[[Graph, Sequence[Any]], tuple[Any, ...]]

#: Loops of so many steps at most are unrolled, so that shapes may depend on the number of a step.
UNROLLED = 16


def known(value: Any) -> bool:
    """Whether a value is known when the model is traced."""
    return value is None or isinstance(value, np.ndarray | np.generic)


@define("If")
def branch(evaluate: Evaluate, condition: Any, *, then_branch: Graph, else_branch: Graph) -> tuple[Any, ...]:
    if known(condition):
        return evaluate(then_branch if np.asarray(condition).item() else else_branch, ())

    def arrays(graph: Graph) -> Callable[[], tuple[Any, ...]]:
        return lambda: tuple(map(fnp.asarray, evaluate(graph, ())))

    return tuple(lax.cond(fnp.reshape(condition, ()), arrays(then_branch), arrays(else_branch)))


@define("Loop")
def loop(evaluate: Evaluate, trips: Any, condition: Any, *carry: Any, body: Graph) -> tuple[Any, ...]:
    count = None if trips is None or not known(trips) else int(np.asarray(trips).item())
    stacks = len(body.outputs) - 1 - len(carry)
    endless = known(condition) and (condition is None or bool(np.asarray(condition).item())) and goes_on(body)
    if count is not None and endless and (count <= UNROLLED or stacks):
        if count <= UNROLLED:
            return unrolled(evaluate, count, carry, body)
        return counted(evaluate, count, carry, body)
    if stacks:
        raise InteropError(
            "apply: a Loop that stacks values must have a number of steps that is known, and no condition"
        )
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


def unrolled(evaluate: Evaluate, count: int, carry: Sequence[Any], body: Graph) -> tuple[Any, ...]:
    """The carry after some steps, and what they give stacked."""
    rows = list[Sequence[Any]]()
    for number in range(count):
        _, *found = evaluate(body, (np.asarray(number), np.asarray(True), *carry))
        carry = found[: len(carry)]
        rows.append(found[len(carry) :])
    if not rows and len(body.outputs) - 1 > len(carry):
        raise InteropError("apply: a Loop of no steps has nothing to stack")
    return (*carry, *[fnp.stack(list(map(fnp.asarray, column))) for column in zip(*rows, strict=True)])


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
