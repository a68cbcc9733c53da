"""Functions whose products by parameters multiply 8-bit integers."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import fdl.numpy as fnp
from fdl import tree
from fdl.api.arguments import FlatFunction, name_of
from fdl.api.inspect import ShapeDtypeStruct, trace_call
from fdl.api.jit import jit
from fdl.array import as_array
from fdl.core import trace
from fdl.core.interpret import apply_program
from fdl.core.program import Atom, Equation, Literal, Program
from fdl.core.rewrite import live
from fdl.core.trace import lift
from fdl.quantization.histograms import LEVELS, histogram, largest
from fdl.quantization.products import Product, needed, products
from fdl.transforms.inline import inline


@dataclass(frozen=True)
class _Traced:
    """A function as a Program for inputs of some types: its products, and the values that it closes over."""

    program: Program
    products: list[Product]
    captured: list[Any]
    flat: FlatFunction
    names: list[str]

    @classmethod
    def of(cls, apply: Callable[..., Any], params: Any, inputs: tuple[Any, ...]) -> "_Traced":
        program, captured, flat = trace_call(apply, (params, *inputs), {})
        program = inline(program)
        outer, names = program.inputs[: len(captured)], _names(params)
        own = Program(program.inputs[len(captured) :], program.equations, program.outputs, program.constants)
        return cls(replace(own, inputs=(*own.inputs, *outer)), products(own, names), captured, flat, names)

    def weights(self, chosen: Sequence[Product], params: Sequence[Any]) -> list[Any]:
        """What products multiply by, computed from the parameters."""
        program, wanted = self.program, tuple(product.weight for product in chosen)
        equations, read = live(program.equations, wanted, effects=False)
        constants = tuple((var, value) for var, value in program.constants if var in read)
        return apply_program(Program(program.inputs[: len(params)], tuple(equations), wanted, constants), params)

    def run(
        self, equations: Iterable[Equation], params: Mapping[str, Any], inputs: tuple[Any, ...],
        multiply: Callable[[Product, Any, Callable[[Atom], Any]], Any | None],
    ) -> Any:  # fmt: skip
        """The result of the equations, of which products are computed by `multiply` if it returns something."""
        program, of = self.program, {id(p.equation): p for p in self.products}
        values: dict[Atom, Any] = {var: lift(value) for var, value in program.constants}
        named = dict(zip(self.names, program.inputs, strict=False))
        values.update((var, as_array(params[name])) for name, var in named.items() if name in params)
        rest = [*map(as_array, tree.leaves(inputs)), *self.captured]
        values.update(zip(program.inputs[len(self.names) :], rest, strict=True))
        process = trace.current().process

        def read(atom: Atom) -> Any:
            return lift(atom.value) if isinstance(atom, Literal) else values[atom]

        for equation in equations:
            product = of.get(id(equation))
            made = None if product is None else multiply(product, read(product.input), read)
            outs = process(equation.operation, [read(a) for a in equation.inputs]) if made is None else [made]
            values.update(zip(equation.outputs, outs, strict=True))
        return self.flat.unflatten([read(a) for a in program.outputs])


def _names(params: Any) -> list[str]:
    return [tree.keystr(path, simple=True, separator=".") or "params" for path, _ in tree.leaves_with_path(params)]


def _together(inputs: Any) -> tuple[Any, ...]:
    return inputs if isinstance(inputs, tuple) else (inputs,)


def observe(apply: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """A function that returns how large the inputs of the products are when `apply` is computed.

    Args:
        apply: (params, *inputs) -> anything.

    Returns:
        (params, *inputs) -> a dict of the products' names and the `histogram` of each one's input. It can be compiled;
        histograms of several batches are added.
    """

    def observed(params: Any, *inputs: Any) -> dict[str, Any]:
        traced = _Traced.of(apply, params, inputs)
        found: dict[str, Any] = {}

        def multiply(product: Product, x: Any, read: Any) -> None:
            found[product.name] = histogram(x)

        traced.run(
            traced.program.equations, dict(zip(traced.names, tree.leaves(params), strict=True)), inputs, multiply
        )
        return found

    observed.__name__ = f"observe({name_of(apply)})"
    return observed


def calibrate(apply: Callable[..., Any], params: Any, batches: Iterable[Any]) -> dict[str, float]:
    """The range of the input of each product by parameters.

    On a cluster `fdl_spark.metrics.input_ranges` finds the same.

    Args:
        apply: (params, *inputs) -> anything.
        params: pytree of arrays.
        batches: examples, a few hundred rows of what the function will meet: for each call the tuple of its inputs, or
            the only one.

    Returns:
        By the name of each product, which is the path of its parameter, the largest absolute value that its input
        keeps: the one with the least sum of squared errors (`largest`).

    Raises:
        ValueError: there are no batches, or no products by parameters.
        fdl.errors.NonFiniteError: an input of a product is infinite or NaN.
    """
    observed, total = jit(observe(apply)), dict[str, Any]()
    for inputs in batches:
        for name, counts in observed(params, *_together(inputs)).items():
            total[name] = total.get(name, 0) + np.asarray(counts).astype(np.int64)
    if not total:
        raise ValueError(
            f"calibrate({name_of(apply)}): there are no batches, or the function has no products to quantize"
        )
    return {name: largest(counts) for name, counts in total.items()}


def quantize(
    apply: Callable[..., Any],
    params: Any,
    example: Any,
    ranges: Mapping[str, float],
    *,
    skip: Collection[str] = (),
) -> tuple["Quantized", dict[str, Any]]:
    """A function that multiplies 8-bit integers where `apply` multiplies by its parameters, and its parameters.

    The integers' products are exact, summed in 32 bits. Rounding the parameters and the inputs to 8 bits is not:
    compare a metric of both functions before one takes the place of the other. Products in loops (`scan`), of two
    inputs, and convolutions of less than eight or an odd number of channels a group stay as they are.

    Args:
        apply: (params, *inputs) -> pytree; only for inference, as derivatives of rounding are 0.
        params: pytree of arrays.
        example: inputs, of which only shapes and dtypes are read: a tuple of all, or the only one. The function takes
            other numbers of rows too.
        ranges: from `calibrate`.
        skip: names of products that stay as they are, such as those of the first and the last layer.

    Returns:
        (function, parameters): the function (parameters, *inputs) -> what `apply` returns. The parameters are a dict of
        arrays: "products" has by name "weight" (int8, as the parameter lies in the product), "scale" (float32, one for
        each output channel) and "input" (float32, what one of the input is multiplied by); "params" has by path
        the parameters that stay as they are.

    Raises:
        ValueError: `ranges` lacks a product, or `skip` or `ranges` name one that does not exist, or no product is
            left.
    """
    traced = _Traced.of(apply, params, _together(example))
    names = [p.name for p in traced.products]
    for what, given in (("skip", skip), ("ranges", ranges)):
        if unknown := sorted(set(given) - set(names)):
            raise ValueError(f"quantize({name_of(apply)}): {what} names {unknown}; the products are {names}")
    chosen = [p for p in traced.products if p.name not in skip]
    if missing := [p.name for p in chosen if p.name not in ranges]:
        raise ValueError(f"quantize({name_of(apply)}): ranges lacks {missing}; calibrate the same function")
    if not chosen:
        raise ValueError(f"quantize({name_of(apply)}): no product by parameters is left; the products are {names}")
    leaves = dict(zip(traced.names, map(as_array, tree.leaves(params)), strict=True))
    made = dict[str, Any]()
    for product, weight in zip(chosen, traced.weights(chosen, list(leaves.values())), strict=True):
        made[product.name] = _rounded(product, np.asarray(weight), ranges[product.name])
    _, read = needed(traced.program, chosen)
    kept = [n for n, var in zip(traced.names, traced.program.inputs, strict=False) if var in read]
    like = tree.map(lambda x: ShapeDtypeStruct(np.shape(x), as_array(x).dtype), params)
    arrays = {"products": made, "params": {name: leaves[name] for name in kept}}
    return Quantized(apply, like, frozenset(made)), arrays


def _rounded(product: Product, weight: np.ndarray, reach: float) -> dict[str, Any]:
    """What the parameters hold of a product."""
    others = tuple(a for a in range(weight.ndim) if a not in product.channels)
    most = np.abs(weight).max(axis=others, keepdims=True)
    scale = np.where(most > 0, most, 1).astype(np.float64) / LEVELS
    step = reach / LEVELS
    return {
        "weight": fnp.asarray(np.clip(np.rint(weight / scale), -LEVELS, LEVELS).astype(np.int8)),
        "scale": fnp.asarray((scale.reshape(product.scale_shape) * step).astype(np.float32)),
        "input": fnp.asarray(np.float32(1 / step)),
    }


@dataclass(frozen=True)
class Quantized:
    """A function (parameters, *inputs) with products of 8-bit integers; see `quantize`.

    Attributes:
        apply: the function that it stands for.
        like: shapes and dtypes of that one's parameters.
        products: names of the products that are of integers.
    """

    apply: Callable[..., Any]
    like: Any = field(repr=False)
    products: frozenset[str]

    @property
    def __name__(self) -> str:
        return f"quantized({name_of(self.apply)})"

    def __call__(self, params: Mapping[str, Any], *inputs: Any) -> Any:
        """The result of `apply`, about.

        Args:
            params: as `quantize` returned them.
            *inputs: those of `apply`, of any number of rows.
        """
        traced = _Traced.of(self.apply, self.like, inputs)
        chosen = [p for p in traced.products if p.name in self.products]
        if lost := sorted(self.products - {p.name for p in chosen}):
            raise ValueError(f"{self.__name__}: for these inputs the function has no products {lost}")
        equations, _ = needed(traced.program, chosen)
        held = params["products"]

        def multiply(product: Product, x: Any, read: Any) -> Any | None:
            return _multiplied(product, x, held[product.name]) if product.name in self.products else None

        return traced.run(equations, params["params"], inputs, multiply)


def _multiplied(product: Product, x: Any, held: Mapping[str, Any]) -> Any:
    """The product of an input, rounded, with the integers of the parameters."""
    small = fnp.clip(fnp.round(x * held["input"]), -LEVELS, LEVELS).astype("int8")
    operands = [small, as_array(held["weight"])]
    whole: Any = replace(product.equation.operation, dtype=np.dtype("int32"))  # type: ignore[type-var]  # a dataclass
    return whole(*(operands if product.side == 1 else operands[::-1])).astype("float32") * held["scale"]
