"""Laws that every model has to keep, in a small configuration: one table of cases, one test for each law."""

from functools import cache, cached_property, partial
from typing import Any

import numpy as np
import pytest

import fdl
from fdl import optim, random, tree
from fdl.core.interpret import interpret
from tests.models.case import Case
from tests.models.cases import CASES

each_case = pytest.mark.parametrize("case", CASES, ids=str)


class Tried:
    """A case with parameters and a batch, and a compiled training step, which the laws share.

    All else is computed by NumPy, from the Program: compiling each model again for each law would take minutes.
    """

    def __init__(self, case: Case) -> None:
        self.case, self.module = case, case.module
        made = case.module.init(random.key(0), case.config)
        self.has_state = isinstance(made, tuple)
        self.params, self.state = made if self.has_state else (made, None)
        self.batch = dict(case.batch(np.random.default_rng(0), 4))
        self.optimizer = optim.adam(case.rate)
        self.step = fdl.jit(self.trained) if case.compiled else self.interpreted
        self.moments = self.optimizer.init(self.params)
        self.first = self.step(self.params, self.moments, self.batch)

    def loss(self, params: Any, batch: Any) -> Any:
        """Of a batch, without dropout."""
        if self.has_state:
            return self.module.loss(params, self.state, batch, config=self.case.config)[0]
        return self.module.loss(params, batch, config=self.case.config)

    def trained(self, params: Any, moments: Any, batch: Any) -> Any:
        value, gradient = fdl.value_and_grad(self.loss)(params, batch)
        updates, moments = self.optimizer.update(gradient, moments, params)
        return value, gradient, optim.apply_updates(params, updates), moments

    def apply(self, params: Any, batch: Any) -> Any:
        inputs = [batch[name] for name in self.case.inputs]
        call = partial(self.module.apply, config=self.case.config)
        return call(params, self.state, *inputs)[0] if self.has_state else call(params, *inputs)

    @cached_property
    def program(self) -> Any:
        return fdl.make_program(self.trained)(self.params, self.moments, self.batch)

    @cached_property
    def structure(self) -> Any:
        """Of what a training step returns."""
        return tree.structure(fdl.eval_shape(self.trained, self.params, self.moments, self.batch))

    def interpreted(self, *args: Any) -> Any:
        """A training step by NumPy, of the models that take longer to compile than to run."""
        found = interpret(self.program, [np.asarray(leaf) for leaf in tree.leaves(args)])
        return tree.unflatten(self.structure, found)

    def by_numpy(self, function: Any, *args: Any) -> list[np.ndarray]:
        """What a function returns, each operation computed by its reference."""
        program = fdl.make_program(function)(*args)
        return interpret(program, [np.asarray(leaf) for leaf in tree.leaves(args)])

    def all_of(self, params: Any) -> dict[str, np.ndarray]:
        return {
            tree.keystr(path, simple=True, separator="/"): np.asarray(leaf)
            for path, leaf in tree.leaves_with_path(params)
        }


@cache
def tried(case_name: str) -> Tried:
    return Tried(next(case for case in CASES if case.name == case_name))


def shapes(outputs: Any) -> Any:
    found = [tuple(leaf.shape) for leaf in tree.leaves(outputs)]
    return found[0] if len(found) == 1 else found


@each_case
def test_inputs_and_outputs_have_the_shapes_that_are_documented(case: Case) -> None:
    of = tried(case.name)
    batch = dict(case.batch(np.random.default_rng(0), 2))
    expected = case.module.inputs(case.config, 2)
    given = [batch[name] for name in case.inputs]
    assert [(i.shape, i.dtype) for i in expected] == [(g.shape, g.dtype) for g in given]
    outputs = fdl.eval_shape(of.apply, of.params, batch)
    assert shapes(outputs) == case.outputs
    assert {str(leaf.dtype) for leaf in tree.leaves(of.params)} == {"float32"}


@each_case
def test_gradients_are_finite_and_reach_every_parameter(case: Case) -> None:
    value, gradient = tried(case.name).first[:2]
    assert np.isfinite(value) and np.shape(value) == ()
    found = tried(case.name).all_of(gradient)
    assert all(np.isfinite(g).all() for g in found.values())
    dead = {path for path, g in found.items() if not g.any()}
    assert all(any(part in path for part in case.zero) for path in dead), dead


@each_case
def test_the_gradient_is_that_of_finite_differences(case: Case) -> None:
    """In float64, along a random direction."""
    of, rng = tried(case.name), np.random.default_rng(1)
    along = [rng.normal(size=leaf.shape) for leaf in tree.leaves(of.params)]
    batch = {k: v.astype(np.float64) if v.dtype == np.float32 else v for k, v in of.batch.items()}

    def at(t: float) -> np.ndarray:
        leaves, structure = tree.flatten(of.params)
        moved = [np.asarray(leaf, np.float64) + t * d for leaf, d in zip(leaves, along, strict=True)]
        return of.by_numpy(of.loss, tree.unflatten(structure, moved), batch)[0]

    h = 1e-6
    gradient = tree.leaves(of.first[1])
    expected = sum(float((np.asarray(g, np.float64) * d).sum()) for g, d in zip(gradient, along, strict=True))
    np.testing.assert_allclose((at(h) - at(-h)) / (2 * h), expected, rtol=1e-2, atol=1e-5)  # over kinks


@each_case
def test_a_batch_is_fitted(case: Case) -> None:
    of = tried(case.name)
    first, _, params, moments = of.first
    for _ in range(case.steps):
        value, _, params, moments = of.step(params, moments, of.batch)
    assert value < case.fitted * first


@each_case
def test_compiled_losses_are_those_of_numpy(case: Case) -> None:
    if not (case.compiled or case.compiled_loss):
        pytest.skip("its other laws are tested by NumPy alone")
    of = tried(case.name)
    compiled = of.first[0] if case.compiled else fdl.jit(of.loss)(of.params, of.batch)
    np.testing.assert_allclose(of.by_numpy(of.loss, of.params, of.batch)[0], compiled, rtol=1e-4)


@each_case
def test_an_example_does_not_depend_on_others(case: Case) -> None:
    of = tried(case.name)
    whole = of.by_numpy(of.apply, of.params, of.batch)
    one = of.by_numpy(of.apply, of.params, {k: v[:1] for k, v in of.batch.items()})
    for all_rows, row in zip(whole, one, strict=True):
        np.testing.assert_allclose(all_rows[:1], row, rtol=1e-4, atol=1e-5)
