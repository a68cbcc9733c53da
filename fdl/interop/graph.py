"""A graph of named operators, as files and other libraries describe a function, evaluated by a table of functions."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from fdl.errors import OperatorError

Function = Callable[..., Any]


@dataclass(frozen=True)
class ValueName:
    """Stands for a value of a graph, by its name."""

    name: str


@dataclass(frozen=True)
class Node:
    """One application of an operator.

    Attributes:
        operator: its name.
        args: operands and settings; what is a `ValueName`, also within lists and tuples, stands for a value.
        outputs: the name of its result; or a tuple of names of its results, of which "" is one that nothing reads.
        attributes: settings by name.
        where: the place in the model, for messages.
    """

    operator: str
    args: tuple[Any, ...]
    outputs: str | tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""


@dataclass(frozen=True)
class Graph:
    """Nodes in an order in which they can be evaluated.

    Attributes:
        inputs: names of the values that it is given.
        nodes: what is evaluated, in this order.
        outputs: names of its results.
        constants: values of its own, by name.
    """

    inputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def unused_after(self) -> tuple[tuple[str, ...], ...]:
        """For each node the values that neither later nodes nor the outputs read: what may be forgotten after it."""
        needed, rows = set(self.outputs), list[tuple[str, ...]]()
        for node in reversed(self.nodes):
            read = {*refs((node.args, tuple(node.attributes.values()))), *names_of(node.outputs)}
            rows.append(tuple(read - needed))
            needed |= read
        return tuple(reversed(rows))

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "unused_after"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)


def refs(value: Any) -> Iterator[str]:
    """Names of the values that an argument stands for, also those that inner graphs read from outside.

    >>> list(refs((ValueName("x"), [1, ValueName("y")])))
    ['x', 'y']
    """
    if isinstance(value, ValueName):
        yield value.name
    elif isinstance(value, list | tuple):
        for item in value:
            yield from refs(item)
    elif isinstance(value, Graph):
        yield from value.outputs
        for node in value.nodes:
            yield from refs((node.args, tuple(node.attributes.values())))


def resolve(value: Any, values: Mapping[str, Any]) -> Any:
    """An argument with the values that it stands for.

    >>> resolve((ValueName("x"), [1, ValueName("y")]), {"x": 10, "y": 20})
    (10, [1, 20])
    """
    if isinstance(value, ValueName):
        return values[value.name]
    if isinstance(value, list | tuple):
        return type(value)([resolve(item, values) for item in value])
    return value


def evaluate(graph: Graph, table: Mapping[str, Function], values: Mapping[str, Any]) -> tuple[Any, ...]:
    """The outputs of a graph.

    Args:
        graph: what to evaluate.
        table: a function for each of its operators, called with the node's args and attributes.
        values: what its inputs stand for, and other names that its nodes read.

    Returns:
        Its outputs.

    Raises:
        OperatorError: the table lacks some operators.

    >>> double = Graph(("x",), (Node("add", (ValueName("x"), ValueName("x")), "y"),), ("y",))
    >>> evaluate(double, {"add": lambda a, b: a + b}, {"x": 3})
    (6,)
    """
    check_operators("evaluate", [graph], table)
    known = {**graph.constants, **values}
    for node, unused in zip(graph.nodes, graph.unused_after, strict=True):
        result = table[node.operator](*resolve(node.args, known), **node.attributes)
        store(known, node.outputs, result)
        for name in unused:
            known.pop(name, None)
    return tuple([known[name] for name in graph.outputs])


def names_of(outputs: str | tuple[str, ...]) -> tuple[str, ...]:
    """The names among the outputs of a node.

    >>> names_of("y"), names_of(("a", "", "b"))
    (('y',), ('a', 'b'))
    """
    return (outputs,) if isinstance(outputs, str) else tuple(filter(None, outputs))


def store(known: dict[str, Any], outputs: str | tuple[str, ...], result: Any) -> None:
    """Put the results of a node under their names. A function may make more, or, of several, one alone.

    >>> known = {}
    >>> store(known, ("a", "", "b"), (1, 2, 3, 4)); store(known, "all", (1, 2)); known
    {'a': 1, 'b': 3, 'all': (1, 2)}
    """
    if isinstance(outputs, str):
        known[outputs] = result
    else:
        results = result if isinstance(result, tuple) else (result,)
        known.update({name: value for name, value in zip(outputs, results, strict=False) if name})


def live(nodes: Sequence[Node], outputs: Iterable[str]) -> tuple[Node, ...]:
    """The nodes that the outputs depend on.

    >>> nodes = [Node("f", (), "a"), Node("g", (ValueName("a"),), "b"), Node("h", (), "c")]
    >>> [node.operator for node in live(nodes, ["b"])]
    ['f', 'g']
    """
    needed, kept = set(outputs), list[Node]()
    for node in reversed(nodes):
        if needed.intersection(names_of(node.outputs)):
            needed.update(refs((node.args, tuple(node.attributes.values()))))
            kept.append(node)
    return tuple(reversed(kept))


def inner_graphs(graph: Graph) -> Iterator[Graph]:
    """The graph, and those among the attributes of its nodes and of theirs."""
    yield graph
    for node in graph.nodes:
        for value in node.attributes.values():
            if isinstance(value, Graph):
                yield from inner_graphs(value)


def check_operators(function: str, graphs: Iterable[Graph], known: Iterable[str], remedy: str = "") -> None:
    """Refuse graphs with operators that have no function, naming all of them.

    Args:
        function: what the user called, which the message begins with.
        graphs: whose operators to look at.
        known: names of the operators that have one.
        remedy: what the user can do, which the message ends with.

    Raises:
        OperatorError: an operator is not among them.

    >>> check_operators("from_x", [Graph((), (Node("roll", (), "y", where="block.1"),), ("y",))], ["add"])
    Traceback (most recent call last):
    fdl.errors.OperatorError: from_x: 1 operator has no counterpart in fdl: roll (once, in block.1)
    """
    names, places = set(known), dict[str, list[str]]()
    for graph in graphs:
        for inner in inner_graphs(graph):
            for node in inner.nodes:
                if node.operator not in names:
                    places.setdefault(node.operator, []).append(node.where)
    if places:
        raise OperatorError(message(function, places, remedy))


def message(function: str, places: Mapping[str, list[str]], remedy: str, home: str = "fdl") -> str:
    """What an OperatorError says of operators that `home` lacks, and where each of them stands."""
    rows = []
    for name in sorted(places):
        where, count = next(filter(None, places[name]), ""), len(places[name])
        times = "once" if count == 1 else f"{count} times"
        rows.append(f"{name} ({times}{', first in ' if where and count > 1 else ', in ' if where else ''}{where})")
    many = len(rows) > 1
    text = f"{function}: {len(rows)} operator{'s have' if many else ' has'} no counterpart in {home}: {', '.join(rows)}"
    return f"{text}. {remedy}" if remedy else text
