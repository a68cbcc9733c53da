"""What decides which branches and how many steps ONNX's control flow takes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fdl.interop.graph import Graph, ValueName, inner_graphs, live, names_of, refs

#: Longer loops are not counted ahead, which takes about a millisecond for each step.
LONGEST = 10_000


def known(value: Any) -> bool:
    """Whether a value is known when the model is traced."""
    return value is None or isinstance(value, np.ndarray | np.generic)


def deciding(graph: Graph) -> set[str]:
    """Names of all values that conditions and numbers of steps are computed from.

    >>> from fdl.interop.graph import Node
    >>> nodes = (Node("Less", (ValueName("a"), ValueName("b")), ("c",)), Node("If", (ValueName("c"),), ("y",)))
    >>> sorted(deciding(Graph(("x",), nodes, ("y",))))
    ['a', 'b', 'c']
    """
    sources, wanted = dict[str, set[str]](), set[str]()

    def comes_from(name: str, *others: Any) -> None:
        sources.setdefault(name, set()).update(refs(others))

    for inner in inner_graphs(graph):
        for node in inner.nodes:
            for name in names_of(node.outputs):
                comes_from(name, *node.args)
            if node.operator == "If":
                wanted.update(refs(node.args))
            if node.operator == "Loop":
                body = node.attributes["body"]
                wanted.update(refs(node.args[:2]), body.outputs[:1])
                for number, name in enumerate(body.inputs[2:]):
                    comes_from(name, node.args[2 + number], ValueName(body.outputs[1 + number]))
    found = set[str]()
    while wanted:
        name = wanted.pop()
        found.add(name)
        wanted |= sources.get(name, set()) - found
    return found


def steps_of(
    evaluate: Callable[[Graph, Sequence[Any]], tuple[Any, ...]],
    trips: Any,
    condition: Any,
    carry: Sequence[Any],
    body: Graph,
) -> int | None:
    """How many steps a Loop takes, from that part of its body which decides it; None if this depends on inputs.

    Loops that TensorFlow writes count in what they carry, and compare it with a constant.
    """
    if not (known(trips) and known(condition)):
        return None
    carried = dict(zip(body.inputs[2:], range(len(carry)), strict=True))
    chosen = list[int]()
    while True:
        outputs = (body.outputs[0], *[body.outputs[1 + number] for number in chosen])
        nodes = live(body.nodes, outputs)
        read = {*outputs, *refs(tuple([(node.args, tuple(node.attributes.values())) for node in nodes]))}
        more = [number for name, number in carried.items() if name in read and number not in chosen]
        if not more:
            break
        chosen += more
    values = list(carry)
    if not all(known(values[number]) for number in chosen):
        return None
    part, steps = Graph(body.inputs, nodes, outputs, body.constants), 0
    limit = np.inf if trips is None else int(np.asarray(trips).item())
    goes_on = condition is None or bool(np.asarray(condition).item())
    while goes_on and steps < limit:
        if steps == LONGEST:
            return None
        first, *found = evaluate(part, (np.asarray(steps), np.asarray(True), *values))
        if not (known(first) and all(map(known, found))):
            return None
        for number, value in zip(chosen, found, strict=True):
            values[number] = value
        goes_on, steps = bool(np.asarray(first).item()), steps + 1
    return steps
