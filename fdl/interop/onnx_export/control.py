"""A Program as an ONNX graph, and loops and branches, which hold Programs, as nodes that hold graphs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fdl.core.program import Program, parameters
from fdl.interop.onnx_export import elementwise, reductions, shapes
from fdl.interop.onnx_export.writer import Unsupported, Writer, WrittenEquation
from fdl.interop.tables import OperatorTable, joined

TABLE = OperatorTable()
define = TABLE.define


def write(w: Writer, program: Program, inputs: Sequence[str]) -> list[str]:
    """Write what a Program computes of values with names; the names of its results.

    Operations that have no nodes are put down in ``w.shared.missing``.
    """
    w.enter(program, inputs)
    for equation in program.equations:
        operation = equation.operation
        name = type(operation).__name__
        settings = {key: getattr(operation, key) for key in parameters(operation)}
        applied = WrittenEquation(w, equation, {**settings, **w.shared.traced.parameters.get(equation, {})})
        try:
            if name in elementwise.TABLE:
                elementwise.write(w, equation, applied)
            elif name == "BroadcastInDim":
                found, extents = shapes.repeated(applied)
                elementwise.put(w, equation.outputs[0], found, extents)
            elif name in ALL:
                results = ALL[name](applied)
                w.names.update(zip(equation.outputs, [results] if isinstance(results, str) else results, strict=True))
            else:
                raise Unsupported("")
        except Unsupported as reason:
            text = f" of {reason}" if str(reason) else ""
            w.shared.missing.setdefault(f"{operation.name}{text}", []).append(equation.source)
            w.names.update(dict.fromkeys(equation.outputs, ""))
    return [w.read(a) for a in program.outputs]


def inner(
    w: Writer, program: Program, given: Sequence[str | None], prefix: Sequence[Any] = ()
) -> tuple[Writer, list[str], list[Any]]:
    """A Program in a graph of its own: what writes it, names of its results, and types of its inputs.

    Args:
        w: the graph around it.
        program: what it computes.
        given: for each input the name of a value outside, or None where the graph has an input of its own.
        prefix: types of inputs that the graph has before.
    """
    body, inputs, infos = Writer(w.shared), [], list(prefix)
    for var, name in zip(program.inputs, given, strict=True):
        inputs.append(name or w.shared.fresh("inner"))
        if name is None:
            infos.append(w.info(inputs[-1], var.type.dtype, w.shared.traced.of(var)))
    return body, write(body, program, inputs), infos


def graph(body: Writer, name: str, infos: Sequence[Any], results: Sequence[tuple[str, Any]]) -> Any:
    """The graph of a node. Its results are values of its own, as runtimes want them."""
    traced = body.shared.traced
    outputs = []
    for found, atom in results:
        outputs.append(body.info(body.node("Identity", [found]), atom.type.dtype, traced.of(atom)))
    return body.helper.make_graph(body.nodes, body.shared.fresh(name), list(infos), outputs)


@define("Scan")
def scan(e: WrittenEquation) -> list[str]:
    w, p, names, program = e.w, e.p, e.names(), e.p["body"]
    first, second = p["constants"], p["constants"] + p["carries"]
    given = [*names[:first], *[None] * (len(names) - first)]
    body, found, infos = inner(w, program, given)
    if p["length"] == 0:
        raise Unsupported("no steps")
    scanned = names[second:]
    if not scanned:  # ONNX counts the steps by what is scanned
        if not isinstance(p["length"], int):
            raise Unsupported("as many steps as rows")
        scanned = [w.constant(np.zeros(p["length"], np.bool_))]
        infos.append(w.info(w.shared.fresh("step"), np.dtype(bool), ()))
    attributes: dict[str, Any] = {"num_scan_inputs": len(scanned)}
    stacks = len(program.outputs) - p["carries"]
    if p["reverse"]:
        attributes |= {"scan_input_directions": [1] * len(scanned), "scan_output_directions": [1] * stacks}
    attributes["body"] = graph(body, "body", infos, list(zip(found, program.outputs, strict=True)))
    return w.several("Scan", [*names[first:second], *scanned], len(program.outputs), **attributes)


@define("While")
def while_(e: WrittenEquation) -> list[str]:
    w, p, names = e.w, e.p, e.names()
    first, second = p["condition_constants"], p["condition_constants"] + p["body_constants"]
    carry = names[second:]
    (start,) = write(w, p["condition"], [*names[:first], *carry])
    step, goes_on = w.shared.fresh("step"), w.shared.fresh("goes_on")
    prefix = [w.info(step, np.dtype(np.int64), ()), w.info(goes_on, np.dtype(bool), ())]
    body, found, infos = inner(w, p["body"], [*names[first:second], *[None] * len(carry)], prefix)
    (more,) = write(body, p["condition"], [*names[:first], *found])
    results = [(more, p["condition"].outputs[0]), *zip(found, p["body"].outputs, strict=True)]
    return w.several("Loop", ["", start, *carry], len(carry), body=graph(body, "body", infos, results))


@define("Cond")
def cond(e: WrittenEquation) -> list[str]:
    """Branches by a number, which is moved into their range, as nested choices of two."""
    w, branches, names = e.w, e.p["branches"], e.names()

    def chosen(around: Writer, number: int) -> tuple[Writer, list[str]]:
        body = Writer(w.shared)
        if number == len(branches) - 1:
            return body, write(body, branches[number], names[1:])
        return body, choice(body, number)

    def choice(around: Writer, number: int) -> list[str]:
        if len(branches) == 1:
            return write(around, branches[0], names[1:])
        is_it = around.node("LessOrEqual", [names[0], around.constant(number, e.dtype)])
        then = Writer(w.shared)
        found = write(then, branches[number], names[1:])
        rest, others = chosen(around, number + 1)
        outputs = branches[number].outputs
        graphs = {
            "then_branch": graph(then, "then", [], list(zip(found, outputs, strict=True))),
            "else_branch": graph(rest, "otherwise", [], list(zip(others, outputs, strict=True))),
        }
        return around.several("If", [is_it], len(outputs), **graphs)

    return choice(w, 0)


ALL = joined(shapes.TABLE, reductions.TABLE, TABLE)
