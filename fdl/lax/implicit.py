"""Roots and linear solutions, whose derivatives follow from the equation that they solve."""

from collections.abc import Callable
from typing import Any

from fdl import tree
from fdl.api.arguments import difference, require_function
from fdl.api.closures import share_captured
from fdl.api.custom import custom_jvp
from fdl.api.differentiate import linear_transpose, linearize
from fdl.api.inspect import trace_call
from fdl.array import as_array
from fdl.control.linear_solve import LinearSolve
from fdl.core.interpret import apply_program
from fdl.core.trace import lift
from fdl.errors import ShapeError, TreeError
from fdl.ops.arithmetic import neg
from fdl.ops.convert import convert
from fdl.ops.shape import zeros_of
from fdl.transforms.forward import jvp_values

__all__ = ["custom_linear_solve", "custom_root"]

#: A function that takes a function and a pytree of arrays.
Solver = Callable[[Callable[[Any], Any], Any], Any]


def custom_root(
    f: Callable[[Any], Any], initial_guess: Any, solve: Solver, tangent_solve: Solver, has_aux: bool = False
) -> Any:
    """A root of a function, differentiated by the implicit function theorem.

    Args:
        f: from a pytree of arrays to one of the same structure and shapes; derivatives are taken by what it closes
            over.
        initial_guess: such a pytree.
        solve: ``solve(f, initial_guess)`` returns a root, in any way; it is not differentiated.
        tangent_solve: ``tangent_solve(g, y)`` returns the `x` with ``g(x) = y`` for a linear `g`, and must be linear
            in `y` itself: ``lambda g, y: y / g(1.0)`` for scalars, :func:`custom_linear_solve` for many unknowns.
        has_aux: whether `solve` returns a pair (root, aux).

    Returns:
        What `solve` returns.

    Raises:
        TreeError: a function returns another structure than that of `initial_guess`.

    Source: the implicit function theorem; Blondel et al., "Efficient and Modular Implicit Differentiation", 2022.

    >>> import fdl
    >>> def root_of(a):
    ...     def newton(f, x):
    ...         return fdl.lax.fori_loop(0, 20, lambda _, x: x - f(x) / fdl.grad(f)(x), x)
    ...     return fdl.lax.custom_root(lambda x: x * x - a, 1.0, newton, lambda g, y: y / g(1.0))
    >>> fdl.value_and_grad(root_of)(4.0)
    (Array(2., dtype=float32), Array(0.25, dtype=float32))
    """
    for name, value in (("f", f), ("solve", solve), ("tangent_solve", tangent_solve)):
        require_function("custom_root", name, value)
    guess, structure = tree.flatten(tree.map(lambda x: as_array(x, "the initial guess of custom_root"), initial_guess))
    count, start = len(guess), tree.unflatten(structure, guess)
    function, function_consts, function_flat = trace_call(f, (start,), {})
    _same_structure("custom_root", "f", structure, function_flat.out_structure)
    solver, solver_consts, flat = trace_call(lambda x: solve(f, x), (start,), {})
    solution = flat.out_structure
    if has_aux and solution.num_children != 2:
        raise TreeError(f"custom_root: with has_aux=True, solve must return a pair (root, aux), not {solution}")
    _same_structure("custom_root", "solve", structure, solution.child(0) if has_aux else solution)
    root = tree.unflatten(structure, solver.output_types[:count])

    def derivative(x: Any, y: Any) -> Any:
        return tangent_solve(linearize(f, x)[1], y)

    tangent, tangent_consts, tangent_flat = trace_call(
        derivative, (root, tree.unflatten(structure, function.output_types)), {}
    )
    _same_structure("custom_root", "tangent_solve", structure, tangent_flat.out_structure)
    programs, consts = share_captured([function, solver, tangent], [function_consts, solver_consts, tangent_consts])

    @custom_jvp
    def find(consts: Any, guess: Any) -> Any:
        return list(apply_program(programs[1], [*consts, *guess]))

    @find.defjvp
    def find_jvp(primals: Any, tangents: Any) -> Any:
        outs = find(*primals)
        x, consts = outs[:count], primals[0]
        right = jvp_values(lambda *values: apply_program(programs[0], [*values, *x]), consts, tangents[0])[1]
        types = function.output_types
        filled = [zeros_of(t) if r is None else r for r, t in zip(right, types, strict=True)]
        moved = [neg(d) for d in apply_program(programs[2], [*consts, *x, *filled])]
        return outs, [*moved, *(zeros_of(lift(o).type) for o in outs[count:])]

    return flat.unflatten(find(consts, guess))


def custom_linear_solve(
    matvec: Callable[[Any], Any],
    b: Any,
    solve: Solver,
    transpose_solve: Solver | None = None,
    symmetric: bool = False,
    has_aux: bool = False,
) -> Any:
    """The solution of a linear equation, found in any way and differentiated by the equation.

    Args:
        matvec: a linear function from a pytree of arrays to one of the same structure and shapes; derivatives are
            taken by what it closes over.
        b: the right side, such a pytree.
        solve: ``solve(matvec, b)`` returns the `x` with ``matvec(x) = b``; it is not differentiated.
        transpose_solve: the same for the transpose of `matvec`; needed in reverse mode.
        symmetric: whether `matvec` is its own transpose, and `solve` serves as `transpose_solve`.
        has_aux: whether the solvers return pairs (solution, aux).

    Returns:
        What `solve` returns.

    Raises:
        TreeError, ShapeError: a function returns something else than is like `b`.
        DifferentiationError: reverse mode without `transpose_solve`.

    >>> import fdl, fdl.numpy as fnp
    >>> a = fnp.array([[2.0, 1.0], [0.0, 4.0]])
    >>> def solve_with(a, b):
    ...     def solve(matvec, b):
    ...         return fnp.linalg.solve(fdl.jacobian(matvec)(b), b)
    ...     return fdl.lax.custom_linear_solve(lambda x: a @ x, b, solve, solve)
    >>> fdl.grad(lambda b: solve_with(a, b)[0])(fnp.array([4.0, 8.0]))
    Array([ 0.5  , -0.125], dtype=float32)
    """
    require_function("custom_linear_solve", "matvec", matvec)
    require_function("custom_linear_solve", "solve", solve)
    if symmetric and transpose_solve is None:
        transpose_solve = solve
    right = tree.map(lambda x: as_array(x, "the right side of custom_linear_solve"), b)
    leaves, structure = tree.flatten(right)
    types = [leaf.type for leaf in leaves]
    functions: list[tuple[str, Callable[[Any], Any]]] = [("matvec", matvec), ("solve", lambda b: solve(matvec, b))]
    if transpose_solve is not None:
        back: Any = matvec if symmetric else lambda y: linear_transpose(matvec, right)(y)[0]
        solve_back = transpose_solve
        functions.append(("transpose_solve", lambda b: solve_back(back, b)))
    programs, captured, flats = [], [], []
    for name, function in functions:
        program, values, flat = trace_call(function, (right,), {})
        found = flat.out_structure
        if has_aux and name != "matvec":
            if found.num_children != 2:
                raise TreeError(f"custom_linear_solve: with has_aux=True, {name} must return a pair, not {found}")
            found = found.child(0)
        _same_structure("custom_linear_solve", name, structure, found)
        for number, (mine, wanted) in enumerate(zip(program.output_types, types, strict=False)):
            if mine.shape != wanted.shape:
                path = tree.keystr(tree.paths(structure)[number])
                raise ShapeError(
                    f"custom_linear_solve: {name} must return values of the shapes of b, but output{path} is {mine} "
                    f"and b{path} is {wanted}"
                )
        programs.append(_like(program, types))
        captured.append(values)
        flats.append(flat)
    shared, consts = share_captured(programs, captured)
    operation = LinearSolve(shared[0], shared[1], shared[2] if len(shared) == 3 else None, len(consts), symmetric)
    return flats[1].unflatten(operation(*consts, *leaves))


def _like(program: Any, types: Any) -> Any:
    """A Program whose first outputs have the dtypes of the right side."""
    if [t.dtype for t in program.output_types[: len(types)]] == [t.dtype for t in types]:
        return program
    return trace_call(
        lambda *values: [
            convert(o, types[n].dtype) if n < len(types) else o for n, o in enumerate(apply_program(program, values))
        ],
        program.input_types,
        {},
    )[0]


def _same_structure(name: str, which: str, expected: Any, found: Any) -> None:
    if expected != found:
        of = "b" if name == "custom_linear_solve" else "the initial guess"
        raise TreeError(
            f"{name}: {which} must return the structure of {of}, but they part {difference(expected, found, 'output')}"
        )
