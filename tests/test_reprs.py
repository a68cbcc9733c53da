"""What values look like in terminals and notebooks: short, escaped, and in the colours of the page."""

import inspect
import re
import time
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np

import fdl
import fdl.export
import fdl.numpy as fnp
from fdl import nn, optim, random
from fdl.as_jax.jaxpr import ClosedJaxpr
from fdl.compile.profile.peak import quiet_seconds
from fdl.core.listing import Listing
from fdl.nn.notebooks import load_ipython_extension, tree_html
from fdl.scipy.interpolate import RegularGridInterpolator
from fdl.scipy.spatial.transform import Rotation, Slerp

VOID = {"br", "img"}


class Page(HTMLParser):
    """Fails where elements are not closed; collects words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attributes):
        assert tag not in ("script", "link", "img", "i", "u"), "nothing is loaded or run, and names are escaped"
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


EVIL = {"<b>&": np.zeros((3, 4), np.float32)}


def double(x):
    return {"<i>": fnp.sin(x) * 2}


def values():
    """One of each kind."""
    x = fnp.arange(6.0).reshape(2, 3)
    lowered = fdl.jit(double).lower(x)
    model = fdl.export.export(lambda p, x: x @ p["<b>&"], EVIL, fnp.ones((2, 3)), {"name": "<u>"})
    return {
        "scalar": fnp.float32(3),
        "vector": fnp.arange(100_000),
        "matrix": fnp.zeros((1000, 1000)),
        "tensor": fnp.ones((2, 3, 4, 5)),
        "empty": fnp.zeros((0, 3)),
        "complex": fnp.array([1 + 2j]),
        "bool": fnp.array([True, False]),
        "bfloat16": fnp.ones(3, "bfloat16"),
        "key": random.key(1),
        "keys": random.split(random.key(0), 1000),
        "summary": nn.summary({str(n): EVIL for n in range(1000)}),
        "optimizer": optim.chain(optim.clip(1.0), optim.adam(1e-3)),
        "program": fdl.make_program(double)(x),
        "lowered": lowered,
        "compiled": lowered.compile(),
        "stage": lowered.as_text(),
        "jaxpr": ClosedJaxpr.of_program(lowered.traced.program),
        "exported": model,
        "exported function": model.apply,
        "exported program": fdl.export.program(double, x),
    }


def test_values_are_short_and_well_formed() -> None:
    for name, value in values().items():
        page = value._repr_html_()
        assert Page(page).words, name
        assert len(page) < 200_000, name
        assert name in ("summary", "stage", "jaxpr") or len(repr(value)) < 3000, name
        assert not re.search(r"color: *(black|white|#000|#fff)", page), f"{name} cannot be read in one of both modes"


def test_one_thing_is_not_many() -> None:
    assert "tree · 1 leaf · 1 element · 1 byte" in "".join(Page(nn.summary(np.zeros((), bool))._repr_html_()).words)
    one = fdl.export.export(lambda p, x: x @ p, np.eye(3, dtype="f4"), fnp.ones((2, 3)))
    assert "function of 1 parameter and" in repr(one.apply) and "1 parameter " in words(one) + " "


def test_interpolators_tell_what_lies_between() -> None:
    grid = RegularGridInterpolator((np.arange(3.0), np.arange(4.0)), np.ones((3, 4)))
    assert repr(grid) == "RegularGridInterpolator(points of [(3,), (4,)], f64[3,4], method='linear')"
    assert repr(fdl.tree.map(lambda x: None, grid)).startswith("RegularGridInterpolator("), "of a tree of anything"
    turns = Rotation.from_euler("z", np.array([[0.0], [90.0]]), degrees=True)
    assert repr(Slerp(np.array([0.0, 1.0]), turns)).startswith("Slerp(times=Array([0., 1.]")


def words(value) -> str:
    return " ".join(Page(value._repr_html_()).words)


def test_an_array_tells_its_type_and_range() -> None:
    assert "float32[1000, 2]" in (told := words(fnp.arange(2000.0).reshape(1000, 2))) and "range 0 … 1999" in told
    assert "7.81 KiB" in told and "998" in told.split() and "500" not in told.split()
    assert "range 1 … 2 · 1 NaN" in words(fnp.array([1.0, fnp.nan, 2.0]))
    assert "range 1 … 2 · 1 NaN" in words(fnp.array([fnp.nan, 2.0, 1.0], "bfloat16"))
    assert "all NaN" in words(fnp.full(3, fnp.nan))
    donated = fnp.ones(3)
    fdl.jit(lambda x: x + 1, donate_argnums=0)(donated)
    assert "donated" in words(donated)
    assert "00000000 00000007" in words(random.key(7)) and "key[3]" in words(random.split(random.key(0), 3))
    assert "shape=(1000, 1000), dtype=float32" in repr(fnp.zeros((1000, 1000))), "as NumPy, where it is not seen"


def test_optimizers_and_schedules_tell_how_they_were_made() -> None:
    rate = optim.cosine_decay_schedule(1e-3, 1000)
    assert "cosine_decay_schedule(0.001, 1000)" in repr(rate)
    assert repr(optim.sgd(0.1, momentum=0.9)) == "sgd(0.1, momentum=0.9)"
    made = optim.chain(optim.clip_by_global_norm(1.0), optim.adamw(rate, weight_decay=np.float32(0.5)))
    assert repr(made) == (
        "chain(clip_by_global_norm(1.0), adamw(cosine_decay_schedule(0.001, 1000), weight_decay=0.5))"
    )
    assert repr(optim.with_extra_args_support(optim.sgd(0.1))) == "sgd(0.1)"
    assert len(repr(optim.piecewise_constant_schedule(1.0, dict.fromkeys(range(10000), 0.5)))) < 500
    assert repr(optim.freeze({"a": True})) == "freeze({'a': True})"
    assert repr(optim.named_chain(("a", optim.sgd(0.1)))) == "named_chain(('a', sgd(0.1)))"
    assert repr(optim.inject_hyperparams(optim.sgd)(0.1)) == "inject_hyperparams(sgd)(0.1)"
    assert repr(optim.MultiSteps(optim.sgd(0.1), 2)).startswith("MultiSteps(sgd(0.1), 2")
    assert repr(optim.dpsgd(0.1, 1.0, 1.1, 1234, nesterov=True)) == "dpsgd(0.1, 1.0, 1.1, …, nesterov=True)"
    assert "1234" not in repr(optim.dpsgd(0.1, 1.0, 1.1, key=1234)), "a key that nobody else may know"


def test_all_transformations_tell_how_they_were_made() -> None:
    inner = optim.sgd(0.1)
    given = {
        "adv_optimizer": inner, "base_optimizer": inner, "every_k": 2, "freeze_mask": True, "function": min,
        "inner": inner, "key": 0, "mask": True, "max_backtracking_steps": 2, "max_consecutive_errors": 1,
        "max_linesearch_steps": 2, "measure": min, "measure_name": "m", "measures": {"m": min}, "optimizer": inner,
        "param_labels": "a", "should_transform_fn": min, "step_size_fn": min, "sync_period": 2,
        "transforms": {"*": inner},
    }  # fmt: skip
    told = {}
    for name in dir(optim):
        make = getattr(optim, name)
        if inspect.isfunction(make) and make.__annotations__.get("return") is optim.GradientTransformation:
            needed = [p for p in inspect.signature(make).parameters.values() if p.default is p.empty]
            values = {p.name: given.get(p.name, 0.5) for p in needed if p.kind is not p.VAR_POSITIONAL}
            told[name] = repr(make(**values))
    assert len(told) > 90
    wrong = {name: text for name, text in told.items() if not text.startswith(f"{name}(")}
    assert set(wrong) == {"partition"}, "another name of multi_transform"


def test_trees_of_arrays_show_as_tables() -> None:
    state = optim.adam(1e-3).init(EVIL)
    assert "0/mu/<b>&" in " ".join(Page(tree_html(state) or "").words)
    assert tree_html({"a": "text", "b": np.ones(2)}) is tree_html([1, 2]) is tree_html(()) is None
    assert "bfloat16" in (tree_html((np.float32(1), fnp.ones(2, "bfloat16"), None)) or "")
    assert "sgd(0.1)" in (tree_html(optim.sgd(0.1)) or ""), "a tuple that shows itself"
    assert "800 more" in str(nn.summary({str(n): np.ones(2) for n in range(1000)}))

    class Formatter(dict):
        def for_type(self, kind, function):
            self[kind] = function

    shown = Formatter()
    shell = SimpleNamespace(display_formatter=SimpleNamespace(formatters={"text/html": shown}))
    load_ipython_extension(shell)
    assert set(shown) == {dict, list, tuple}
    fdl.unload_ipython_extension(shell)
    assert not shown
    assert fdl.load_ipython_extension is load_ipython_extension


def test_other_values_show_as_ever() -> None:
    itself: list = [np.ones(2)]
    itself.append(itself)
    series = SimpleNamespace(shape=(2,), dtype=np.dtype(float))  # as pandas' are
    dates, texts, objects = np.array(["2020-01-01"], "M8[D]"), np.array(["a"]), np.array([None])
    for value in (itself, [series], [dates], [np.ones(2), texts], {"a": objects}, [np.float64(0.5)] * 3, [[]] * 10_000):
        assert tree_html(value) is None
    assert tree_html([0] * 5000 + [np.ones(2)]) is None, "a long list of numbers is not walked to its end"


def test_a_peak_is_measured_only_while_the_processor_is_ours() -> None:
    assert np.isnan(quiet_seconds([lambda: time.sleep(0.001)]))
    found = fdl.Profile("f", (), 1e-3, 1, 0, float("nan"), 2e10)
    assert "not measured" in str(found) and "nan" not in (str(found) + words(found)).lower()


def test_colours_of_listings_can_be_read_on_white_and_on_black() -> None:
    def luminance(colour: str) -> float:  # WCAG 2.1, relative luminance
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    colours = set(re.findall(r"color: (#\w{6})", Listing("%1 = f32[3]  # a comment")._repr_html_()))
    assert len(colours) == 3
    for colour in colours:
        for page in ("#ffffff", "#1a1c1e"):
            dark, light = sorted([luminance(colour), luminance(page)])
            assert (light + 0.05) / (dark + 0.05) > 3.5, f"{colour} on {page}"
