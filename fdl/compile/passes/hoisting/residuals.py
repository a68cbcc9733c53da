"""What a forward loop stacks for a backward loop: as few bytes as can be, without repeating what takes long.

Everything that cheap operations make of what is stacked can be made again by the loop that reads it. Which values to
stack is the minimum cut between those that have to be stacked and those that are needed, where a value counts its
bytes (H. He and S. Yu, "Transcending Runtime-Memory Tradeoffs in Checkpointing by being Fusion Aware", 2023).
"""

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import replace

from fdl.compile.passes.hoisting.scan import MutableScan, bytes_of
from fdl.core.program import Atom, Equation, Var
from fdl.ops.sigmoid import Logistic, LogisticDensity, Tanh, TanhDerivative
from fdl.ops.special import Special
from fdl.ops.transcendental import Function, Pow
from fdl.ops.trigonometric import Atan2

#: Elementwise operations that take longer than reading their result from memory.
SLOW = (Function, Special, Pow, Atan2)
#: Those of one exponential, whose derivative needs their operand anyway: stacking that alone halves what is kept.
QUICK = (Logistic, LogisticDensity, Tanh, TanhDerivative)


#: A node of the graph that is cut: where the bytes of a value go in, or out; the source or the sink.
Node = tuple[Var, str] | str
#: Capacities of the edges from each node.
Graph = dict[Node, dict[Node, float]]


def share(first: MutableScan, second: MutableScan, elsewhere: Collection[Atom]) -> None:
    """Stack less in `first` of what only `second` reads; what is read `elsewhere` stays."""
    slices = {outer: var for var, outer in second.scanned.items()}
    needed = {r: a for r, a in first.stacks if r in slices and r not in elsewhere}
    available: set[Atom] = {*first.scanned, *first.invariant, *(a for r, a in first.stacks if r not in needed)}
    wanted = dict.fromkeys(a for a in needed.values() if isinstance(a, Var) and a not in available)
    if first.length != second.length or not needed:
        return
    chosen = minimum_cut(first.equations, wanted, available)
    if set(chosen) == {a for a in needed.values() if isinstance(a, Var)}:
        return
    first.stacks = [s for s in first.stacks if s[0] not in needed]
    known: dict[Var, Var] = {}
    for var in chosen:
        known[var] = Var(var.type)
        second.scanned[known[var]] = first.stacked(var)
    _make_again(first, second, known, {slices[r]: a for r, a in needed.items()})
    first.refresh()


def _make_again(first: MutableScan, second: MutableScan, known: dict[Var, Var], atoms: dict[Atom, Atom]) -> None:
    """Let `second` compute values of `first` from those that are `known`, where it needs them, instead of reading."""
    equations: list[Equation] = []

    def given(var: Var) -> tuple[dict[Var, Atom], Atom] | None:
        """Which operands of `second` are to hold a value of `first`, and what it is outside."""
        if var in first.constants:
            return second.constants, first.constants[var]
        if var in first.scanned:
            return second.scanned, first.scanned[var]
        stack = next((r for r, a in first.stacks if a is var), None)
        return None if stack is None else (second.scanned, stack)

    def value(atom: Atom) -> Atom:
        if not isinstance(atom, Var):
            return atom
        if atom not in known:
            found = given(atom)
            if found is not None:
                known[atom] = Var(atom.type)
                found[0][known[atom]] = found[1]
            else:
                maker = first.makers[atom]
                read = tuple(map(value, maker.inputs))
                known.update((v, Var(v.type)) for v in maker.outputs)
                outputs = tuple(known[v] for v in maker.outputs)
                equations.append(replace(maker, inputs=read, outputs=outputs, scope=0))
        return known[atom]

    for equation in second.equations:
        inputs = tuple(value(atoms[a]) if a in atoms else a for a in equation.inputs)
        equations.append(replace(equation, inputs=inputs))
    second.substitute({a: value(atoms[a]) for a in second.results() if isinstance(a, Var) and a in atoms})
    second.equations = equations
    second.scanned = {var: outer for var, outer in second.scanned.items() if var not in atoms}
    second.refresh()


def _is_cheap(equation: Equation) -> bool:
    operation = equation.operation
    plain = operation.lowering_kind in ("elementwise", "move") and not (operation.multiple or operation.effect)
    return plain and (isinstance(operation, QUICK) or not isinstance(operation, SLOW))


def minimum_cut(equations: Iterable[Equation], wanted: Collection[Var], available: Collection[Atom]) -> list[Var]:
    """The values of least bytes from which cheap equations make the wanted ones; late ones, if there is a choice.

    Args:
        equations: of the body that makes the values.
        wanted: variables.
        available: variables that are there anyway.
    """
    makers = {v: e for e in equations for v in e.outputs}
    graph: Graph = {}

    def connect(a: Node, b: Node, capacity: float) -> None:
        graph.setdefault(a, {})[b] = capacity
        graph.setdefault(b, {}).setdefault(a, 0)

    source, sink, infinite = "source", "sink", float("inf")
    pending, seen = list(wanted), dict.fromkeys(wanted)
    for var in wanted:
        connect((var, "out"), sink, infinite)
    while pending:
        var = pending.pop()
        connect((var, "in"), (var, "out"), bytes_of(var))
        maker = makers.get(var)
        if maker is None or not _is_cheap(maker):
            connect(source, (var, "in"), infinite)
            continue
        for atom in maker.inputs:
            if isinstance(atom, Var) and atom not in available:
                connect((atom, "out"), (var, "in"), infinite)
                if atom not in seen:
                    seen[atom] = None
                    pending.append(atom)
    if source not in graph:
        return []
    while path := _path(graph, source, sink):
        amount = min(graph[a][b] for a, b in path)
        for a, b in path:
            graph[a][b] -= amount
            graph[b][a] += amount
    backwards = {a: {b: graph[b][a] for b in others} for a, others in graph.items()}
    late = _reached(backwards, sink)
    return [v for v in seen if (v, "out") in late and (v, "in") not in late]


def _reached(graph: Graph, start: Node) -> dict[Node, Node | None]:
    """The nodes that edges with capacity lead to, and from where."""
    found: dict[Node, Node | None] = {start: None}
    pending = deque([start])
    while pending:
        node = pending.popleft()
        for other, capacity in graph[node].items():
            if capacity > 0 and other not in found:
                found[other] = node
                pending.append(other)
    return found


def _path(graph: Graph, source: Node, sink: Node) -> list[tuple[Node, Node]]:
    """The edges of a shortest path with capacity left."""
    found = _reached(graph, source)
    path, node = [], sink
    while (before := found.get(node)) is not None:
        path.append((before, node))
        node = before
    return path
