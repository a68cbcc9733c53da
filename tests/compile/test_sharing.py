"""Functions of a module that are alike but for integers become one."""

import ctypes
import re

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax
from fdl.compile.llvm.sharing import LEAST_SAVED, LONG, MOST_ARGUMENTS, share_functions
from fdl.compile.llvm.target import host_target
from fdl.compile.pipeline import Compiled, build_archive
from fdl.compile.runtime import machine

FILLING = "\n".join(f'  %"f{n}" = add i64 %"x", {n}' for n in range(LEAST_SAVED // 20))


def definition(name: str, lines: str) -> str:
    return f"""define internal void @"{name}"(ptr %"out", i64 %"x") nounwind
{{
entry:
{lines}
{FILLING}
  store i64 %"y", ptr %"out"
  ret void
}}
"""


def module(*definitions: str, more: str = "") -> str:
    """A module whose function ``run(out)`` calls functions f0, f1, ... of out + 8 n and of 100."""
    calls = "\n".join(
        f'  %"p{n}" = getelementptr i64, ptr %"out", i64 {n}\n  call void @"f{n}"(ptr %"p{n}", i64 100)'
        for n in range(len(definitions))
    )
    run = f'define void @"run"(ptr %"out")\n{{\nentry:\n{calls}\n{more}\n  ret void\n}}\n'
    return "\n".join([*definitions, run])


def results(text: str, count: int) -> list[int]:
    """What ``run`` of a module writes."""
    library = machine.load_objects([machine.compile_object(text, host_target())], ["run"])
    out = (ctypes.c_int64 * count)()
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(library.addresses["run"])(ctypes.addressof(out))
    return list(out)


def defined(text: str) -> list[str]:
    return re.findall(r'^define [^@]*@"([^"]+)"', text, re.M)


def test_factors_terms_and_bounds_become_arguments():
    lines = '  %"a" = mul i64 %"x", {}\n  %"b" = icmp slt i64 %"a", {}\n'
    lines += '  %"c" = zext i1 %"b" to i64\n  %"y" = add i64 %"a", %"c"'
    numbers = [(3, 299), (5, 501), (-7, -1000), (3, 301)]
    text = module(*[definition(f"f{n}", lines.format(*pair)) for n, pair in enumerate(numbers)])
    shared = share_functions(text)
    assert defined(shared) == ["f0", "run"] and shared.count("call void") == 4
    expected = [100 * factor + (100 * factor < bound) for factor, bound in numbers]
    assert results(text, 4) == results(shared, 4) == expected


def test_callers_of_what_became_one_become_one():
    inner = [definition(f"g{n}", f'  %"y" = mul i64 %"x", {n + 2}') for n in range(2)]
    outer = [
        definition(
            f"f{n}",
            f'  call void @"g{n}"(ptr %"out", i64 {n})\n  %"z" = load i64, ptr %"out"\n  %"y" = add i64 %"z", %"x"',
        )
        for n in range(2)
    ]
    text = "\n".join([*inner, module(*outer)])
    shared = share_functions(text)
    assert defined(shared) == ["g0", "f0", "run"]
    assert results(shared, 2) == [100, 103]


@pytest.mark.parametrize(
    "lines",
    ['  %"y" = udiv i64 %"x", {}', '  %"y" = shl i64 %"x", {}', '  %"z" = alloca [{} x i8]\n  %"y" = add i64 %"x", 1'],
)
def test_other_integers_stay(lines):
    text = module(*[definition(f"f{n}", lines.format(n + 2)) for n in range(3)])
    assert share_functions(text) == text


def test_functions_whose_address_is_taken_stay():
    both = [definition(f"f{n}", f'  %"y" = mul i64 %"x", {n + 2}') for n in range(2)]
    text = module(*both, more='  store ptr @"f1", ptr %"out"')
    assert share_functions(text) == text


def test_functions_of_many_differing_integers_stay():
    def lines(count: int, step: int) -> str:
        terms = [f'  %"t{n}" = mul i64 %"x", {n * step}' for n in range(1, count + 1)]
        return "\n".join([*terms, f'  %"y" = add i64 %"t1", %"t{count}"'])

    for functions, most in ((2, 2), (4, 6), (20, MOST_ARGUMENTS)):
        for count, left in ((most, 1), (most + 1, functions)):
            text = module(*[definition(f"f{n}", lines(count, 2 * n + 1)) for n in range(functions)])
            assert len(defined(share_functions(text))) == left + 1


def test_functions_that_run_long_read_any_number_of_integers_from_a_table():
    def lines(step: int) -> str:
        terms = [f'  %"t{n}" = mul i64 %"x", {n * step}' for n in range(1, 41)]
        sums = [f'  %"s{n}" = add i64 %"s{n - 1}", %"t{n}"' for n in range(2, 40)]
        return "\n".join([*terms, '  %"s1" = add i64 %"t1", 0', *sums, f'  %"y" = add i64 %"s39", {step}'])

    def named(text: str) -> str:
        return text.replace('@"f', f'@"{LONG}f')

    inner = [definition(f"g{n}", lines(2 * n + 1)) for n in range(2)]
    text = named("\n".join([module(*[definition(f"f{n}", lines(2 * n + 1)) for n in range(3)]), *inner]))
    shared = share_functions(text)
    assert defined(shared) == [f"{LONG}f0", "run", "g0", "g1"]
    assert results(shared, 3) == results(text, 3) == [100 * 780 * n + n for n in (1, 3, 5)]


def test_tables_become_arguments():
    tables = "".join(f'@"table.{n}" = internal constant [2 x i64] [i64 {n}, i64 {7 * n}]\n' for n in range(3))
    lines = (
        '  %"a" = getelementptr i64, ptr @"table.{0}", i64 1\n  %"b" = load i64, ptr %"a"\n'
        '  %"c" = load i64, ptr @"table.{0}"\n  %"d" = add i64 %"b", %"c"\n  %"y" = add i64 %"d", %"x"'
    )
    text = tables + module(*[definition(f"f{n}", lines.format(n)) for n in range(3)])
    shared = share_functions(text)
    assert defined(shared) == ["f0", "run"]
    assert results(shared, 3) == results(text, 3) == [100, 108, 116]


def test_divisors_that_are_needed_seldom_become_arguments():
    text = module(
        *[
            definition(f"f{n}", f'  %"seldom.1" = udiv i64 %"x", {n + 2}\n  %"y" = add i64 %"seldom.1", 0')
            for n in range(3)
        ]
    )
    shared = share_functions(text)
    assert defined(shared) == ["f0", "run"]
    assert results(shared, 3) == results(text, 3) == [50, 33, 25]


def functions_of(function, arguments, monkeypatch) -> list[str]:
    """Names of the functions of a jitted function's module, after functions have been shared."""
    kept = []
    monkeypatch.setattr(machine, "share_functions", lambda text: kept.append(share_functions(text)) or kept[-1])
    program = fdl.jit(function).trace(*arguments).program
    build_archive(program, (False,) * len(program.inputs))
    return defined(max(kept, key=len))


def test_tiles_and_convolutions_do_not_grow_with_a_network(monkeypatch, rng):
    """Layers of other extents and channels need no more tiles, packing or kernels of convolutions."""

    def network(sizes, channels):
        weights = [fnp.asarray(rng.normal(size=(3, 3, c, c)).astype("f4")) for c in channels]
        images = [fnp.asarray(rng.normal(size=(2, n, n, c)).astype("f4")) for n, c in zip(sizes, channels, strict=True)]

        def loss(weights, images):
            numbers = ("NHWC", "HWIO", "NHWC")
            outputs = [
                lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=numbers)
                for x, w in zip(images, weights, strict=True)
            ]
            return sum(fnp.sum(fnp.tanh(y)) for y in outputs)

        names = functions_of(fdl.grad(loss, argnums=(0, 1)), (weights, images), monkeypatch)
        return [name for name in names if name.startswith(("tile", "walk", "panel", "pairs", LONG))]

    few = network((12, 24), (64, 128))
    many = network((12, 24, 36, 48, 60, 72), (64, 128, 192, 256, 320, 384))
    assert len(few) <= len(many) <= len(few) + 4


def test_products_of_any_extents_have_the_same_tiles(monkeypatch, rng):
    def tiles(extents):
        arrays = [fnp.asarray(rng.normal(size=(n, n)).astype("f4")) for n in extents]
        names = functions_of(lambda arrays: [a @ a.T for a in arrays], (arrays,), monkeypatch)
        return {name for name in names if name.startswith(("tile", "panel"))}

    assert tiles((192,)) == tiles((192, 384, 768))


def test_short_functions_stay():
    lines = '  %"y" = mul i64 %"x", {}'
    text = module(*[definition(f"f{n}", lines.format(n)).replace(FILLING, "") for n in range(3)])
    assert share_functions(text) == text


def test_programs_compute_the_same_bits(monkeypatch, rng):
    widths = (16, 32, 48, 32, 16, 48, 16, 32, 48, 32, 16)
    sizes = (3,) * 10
    shapes = [(o, i, n, n) for i, o, n in zip(widths, widths[1:], sizes, strict=False)]
    weights = [fnp.asarray((rng.normal(size=s) / np.sqrt(np.prod(s[1:]))).astype("f4")) for s in shapes]
    images = fnp.asarray(rng.normal(size=(2, 16, 20, 20)).astype("f4"))

    def loss(weights, x):
        for w in weights:
            x = fnp.maximum(lax.conv(x, w, (1, 1), "SAME") + 0.1, 0.0)
            x = lax.reduce_window(x, -np.inf, lax.max, (1, 1, 2, 2), (1, 1, 1, 1), "SAME")
        return fnp.sum(x * x)

    program = fdl.jit(fdl.grad(loss)).trace(weights, images).program
    donate = (False,) * len(program.inputs)
    shared = build_archive(program, donate)
    kept = []
    monkeypatch.setattr(machine, "share_functions", lambda text: kept.append(text) or text)
    alone = build_archive(program, donate)
    assert len(shared.code) < 0.9 * len(alone.code) and len(share_functions(kept[0])) < 0.9 * len(kept[0])
    arrays = [np.asarray(a) for a in (*weights, images)]
    for one, other in zip(*(Compiled(program, donate, a).run(arrays) for a in (shared, alone)), strict=True):
        assert one.tobytes() == other.tobytes()


@pytest.mark.parametrize("end", ["", "\n", "\n; the end"])
def test_a_module_may_begin_and_end_with_a_definition(end):
    body = '  %"y" = mul i64 %"x", {}'
    text = definition("f0", body.format(3)) + 'define void @"run"(ptr %"out")\n{\nentry:\n'
    text += '  call void @"f0"(ptr %"out", i64 100)\n  call void @"f1"(ptr %"out", i64 100)\n  ret void\n}\n'
    text += definition("f1", body.format(5)).rstrip() + end
    shared = share_functions(text)
    assert defined(shared) == ["f0", "run"] and shared.endswith(end) and results(shared, 1) == [500]


def test_what_is_not_shared_keeps_its_text():
    text = module(definition("f0", '  %"y" = mul i64 %"x", 3'), more='; define internal void @"f1"()')
    assert share_functions(text) == text and share_functions("") == ""
