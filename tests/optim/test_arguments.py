"""Learning rates, decays and their like are checked where they are given, by name."""

import inspect

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import optim
from fdl.errors import DtypeError, RangeError, ShapeError

NAN, INF = float("nan"), float("inf")
NO_NUMBER = ["0.1", [0.1], {"rate": 0.1}, 1j, object(), np.array("a"), fdl.random.key(0)]
WITH_AXES = [np.ones(2), fnp.ones((1, 1))]

#: By the name of an argument: a number that it takes, numbers outside of its range.
TABLE = {
    "learning_rate": (0.1, [-0.1, -INF]),
    "weight_decay": (0.1, [-1e-4]),
    "momentum": (0.9, [-0.9]),
    "decay": (0.9, [-0.9]),
    "b1": (0.9, [-0.1, 1.0, 1.5]),
    "b2": (0.99, [-0.1, 1, 1.5]),
    "rho": (0.9, [-0.1, 1.1]),
    "eps": (1e-8, [-1e-8]),
    "eps_root": (1e-8, [-1e-8]),
    "initial_accumulator_value": (0.1, [-0.1]),
    "initial_scale": (0.1, [-0.1]),
    "trust_coefficient": (0.1, [-0.1]),
    "min_norm": (0.1, [-0.1]),
    "max_delta": (1.0, [-1.0]),
    "max_norm": (1.0, [-1.0]),
    "threshold": (5.0, [-1.0]),
    "step_size": (-0.1, []),
    "sync_period": (2, [0, -1, 1.5, INF]),
    "slow_step_size": (0.5, [-0.1, 1.1]),
    "steps_per_epoch": (5, [0, -1, 1.5, INF]),
    "epochs": (3, [0, -1, 1.5, INF]),
    "value": (-0.1, []),
    "init_value": (0.0, []),
    "end_value": (0.5, []),
    "peak_value": (1.0, []),
    "power": (2, []),
    "alpha": (0.1, []),
    "exponent": (1.0, []),
    "decay_rate": (0.5, [-0.5]),
    "transition_steps": (10, []),
    "transition_begin": (2, []),
    "warmup_steps": (5, []),
    "decay_steps": (20, []),
    "pct_start": (0.3, [-0.1, 1.1]),
    "pct_final": (0.8, [-0.1, 1.1]),
    "div_factor": (25.0, [0.0, -25.0]),
    "final_div_factor": (1e4, [0, -1e4]),
}
OTHERS = {
    "optimizer": optim.sgd(0.1), "interpolate_type": "linear", "new_tensors": 1.0, "old_tensors": 0.0,
    "rate_of": lambda epoch: 0.1 / epoch,
}  # fmt: skip
NEWER = {"adaptive_grad_clip", "freeze", "partition", "selective_transform", "with_extra_args_support"}
#: Arguments that are no numbers.
NOT_NUMBERS = {
    "accumulator_dtype", "bias_correction", "boundaries", "boundaries_and_scales", "centered", "cosine_kwargs",
    "debias", "elementwise", "eps_in_sqrt", "flip_sign", "function", "inner", "lazy", "loss", "mask",
    "mu_dtype", "nesterov", "param_labels", "params", "rows", "schedules", "sparse", "staircase", "state",
    "step_size_fn", "tables", "transformations", "transforms", "trust_ratio_mask", "updates",
    "weight_decay_mask", *OTHERS,
}  # fmt: skip
SCHEDULED = ("learning_rate", "weight_decay")


#: Where the functions are whose arguments are tried one by one; those of the others have one test each.
MODULES = "averages base constraints epochs masks optimizers paths schedules tables transforms".split()


def functions(within):
    """The public functions of these modules, or of the others."""
    for name in optim.__all__:
        function = getattr(optim, name)
        if inspect.isfunction(function) and (function.__module__.split(".")[-1] in MODULES) == within:
            yield name, function


def pairs():
    """Every function with every argument of it that is a number."""
    for name, function in functions(True):
        if name not in NEWER:
            yield from ((name, p) for p in inspect.signature(function).parameters if p not in NOT_NUMBERS)


PAIRS = list(pairs())


def call(name, argument, value):
    """Call the function with one argument as given and the other required ones right."""
    function = getattr(optim, name)
    required = [p.name for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    given = {p: OTHERS[p] if p in OTHERS else TABLE[p][0] for p in required}
    return function(**given | {argument: value})


def test_the_table_knows_all_numbers():
    assert {argument for _, argument in PAIRS} == set(TABLE) and len(PAIRS) > 100


@pytest.mark.parametrize(("name", "argument"), PAIRS)
def test_what_is_no_number_of_the_range_is_refused_by_name(name, argument):
    """The message names the function, the argument and the value, and no tracing is needed for it."""
    _, outside = TABLE[argument]
    # Weights of a sum, as momentum is, may exceed one; weights of a mean may not.
    outside = [*outside, 1.5] if argument == "decay" and name != "trace" else outside
    outside = [3.9] if argument == "threshold" and "radam" in name else outside
    outside = [0, -1] if argument == "transition_steps" and "onecycle" in name else outside
    cases = [(v, DtypeError) for v in NO_NUMBER] + [(v, ShapeError) for v in WITH_AXES]
    cases += [(v, RangeError) for v in (NAN, np.float32("nan"), *outside)] + [(fnp.asarray(NAN), RangeError)]
    cases += [] if argument in SCHEDULED else [(lambda count: 0.1, DtypeError)]
    default = inspect.signature(getattr(optim, name)).parameters[argument].default
    cases += [] if default is None else [(None, DtypeError)]
    for value, error in cases:
        with pytest.raises(error, match=rf"^{name}: {argument} must be .*, got "):
            call(name, argument, value)


@pytest.mark.parametrize(("name", "argument"), PAIRS)
def test_numbers_and_arrays_of_no_axes_are_taken(name, argument):
    value = TABLE[argument][0]
    for given in (value, np.float32(value), np.asarray(value), fnp.asarray(value)):
        assert call(name, argument, given) is not None


@pytest.mark.parametrize("argument", ["learning_rate", "b1", "b2", "eps", "eps_root"])
def test_a_traced_number_is_not_known_and_taken(argument):
    """The update that it gives is that of the number, and so is its derivative."""

    def first(value):
        optimizer = optim.adam(**{"learning_rate": 0.1} | {argument: value})
        return optimizer.update(fnp.array([1.0, -4.0]), optimizer.init(fnp.zeros(2)))[0]

    value = np.float32(0.01 + TABLE[argument][0] / 2)
    np.testing.assert_allclose(fdl.jit(first)(value), first(value), rtol=1e-5)
    np.testing.assert_allclose(fdl.vmap(first)(fnp.stack([value, value])), [first(value)] * 2, rtol=1e-5)
    with pytest.raises(ShapeError, match=rf"^adam: {argument} must be "):
        fdl.jit(first)(np.ones(2, np.float32))


def test_the_derivative_by_a_learning_rate():
    def last(rate):
        optimizer = optim.sgd(rate)
        return optimizer.update(fnp.array(3.0), optimizer.init(fnp.array(0.0)))[0]

    assert fdl.grad(last)(0.1).item() == -3.0


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda: optim.scale_by_schedule(0.1),
            TypeError,
            "scale_by_schedule needs a function as step_size_fn, got 0.1",
        ),
        (lambda: optim.join_schedules([0.1], []), TypeError, r"join_schedules needs a function as schedules\[0\]"),
        (
            lambda: optim.join_schedules([abs, abs], []),
            ValueError,
            "one boundary fewer than schedules, got 2 schedules and 0 boundaries",
        ),
        (lambda: optim.join_schedules([abs, abs], ["1"]), DtypeError, r"join_schedules: boundaries\[0\] must be"),
        (lambda: optim.piecewise_constant_schedule(1.0, [1]), TypeError, "must be a dict from step counts to factors"),
        (
            lambda: optim.piecewise_constant_schedule(1.0, {3: "0.1"}),
            DtypeError,
            r"piecewise_constant_schedule: boundaries_and_scales\[3\] must be a real number .*, got '0.1'",
        ),
        (
            lambda: optim.piecewise_interpolate_schedule("linear", 1.0, {"3": 0.1}),
            DtypeError,
            "piecewise_interpolate_schedule: a boundary of boundaries_and_scales must be",
        ),
        (lambda: optim.sgdr_schedule([{"init_value": "0"}]), TypeError, "warmup_cosine_decay_schedule"),
    ],
)
def test_schedules_are_checked_where_they_are_made(make, error, message):
    with pytest.raises(error, match=message):
        make()


#: By function: an argument, and numbers outside of its range.
FURTHER = {
    "adafactor": {"decay_rate": -1.0, "clipping_threshold": -1.0},
    "adan": {"b3": 1.0, "weight_decay": -1.0},
    "adaptive_grad_clip": {"clipping": -1.0},
    "add_noise": {"eta": -1.0},
    "apply_every": {"k": 0},
    "apply_if_finite": {"max_consecutive_errors": -1},
    "cocob": {"alpha": 0.0},
    "dowg": {"init_estim_sq_dist": 0.0},
    "lbfgs": {"learning_rate": -1.0, "memory_size": 0},
    "madgrad": {"momentum": 1.0},
    "multi_steps": {"every_k": 1.5},
    "muon": {"beta": 1.0, "ns_steps": -1},
    "prodigy": {"estim_lr0": 0.0},
    "reduce_on_plateau": {"factor": 1.0, "patience": 0},
    "rprop": {"eta_minus": 0.0},
    "sam": {"sync_period": 0},
    "scale_by_backtracking_linesearch": {"max_backtracking_steps": 0, "decrease_factor": 1.0},
    "scale_by_zoom_linesearch": {"max_linesearch_steps": 0, "increase_factor": 1.0},
    "schedule_free_sgd": {"b1": 1.0},
    "sm3": {"momentum": 1.0},
    "sophia": {"gamma": 0.0},
}


@pytest.mark.parametrize("name", FURTHER)
def test_further_functions_refuse_by_name(name):
    function = getattr(optim, name)
    required = [p.name for p in inspect.signature(function).parameters.values() if p.default is p.empty]
    known = {"inner": optim.sgd(0.1), "optimizer": optim.sgd(0.1), "adv_optimizer": optim.sgd(0.1)}
    given = {p: known.get(p, 1 if "steps" in p else 0.1) for p in required}
    for argument, outside in FURTHER[name].items():
        for value, error in ((outside, RangeError), (NAN, RangeError), ("0.1", DtypeError)):
            with pytest.raises(error, match=rf"{name}: {argument} must be .*, got "):
                function(**given | {argument: value})
