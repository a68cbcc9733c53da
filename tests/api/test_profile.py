"""fdl.profile: what each kernel computes, how much work that is, and that its times add up."""

import html.parser
from functools import partial

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import lax, nn
from fdl.api.profile import Kernel, Profile


def named(profile: Profile, word: str) -> list[Kernel]:
    return [kernel for kernel in profile.kernels if word in kernel.what]


def test_work_of_a_matrix_product():
    (kernel,) = fdl.profile(lambda x, y: x @ y)(fnp.ones((30, 50)), fnp.ones((50, 70))).kernels
    assert kernel.what == "matmul (30, 50) @ (50, 70)"
    assert kernel.flops == 2 * 30 * 50 * 70
    assert kernel.bytes == 4 * (30 * 50 + 50 * 70 + 30 * 70)
    assert kernel.calls == 1
    assert kernel.source.startswith("test_profile.py:")


def test_work_of_products_that_sum_nothing():
    shapes = (((), ()), ((), (3,)), ((3,), ()), ((), (3, 4)), ((3, 4), ()), ((2, 3), (4,)), ((0,), ()))
    for kind, each in (("i1", 2), ("c8", 8)):  # without a kernel, so that the product is as it was written
        for left, right in shapes:
            x, y = np.ones(left, kind), np.ones(right, kind)
            kernels = fdl.profile(lambda x, y: lax.dot_general(x, y, (((), ()), ((), ()))))(x, y).kernels
            assert sum(k.flops for k in kernels) == each * x.size * y.size, (kind, left, right)
            assert all("matmul" in k.what for k in kernels)


def test_work_of_a_convolution():
    def f(x, w):
        return lax.conv_general_dilated(x, w, (2, 2), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    (kernel,) = named(fdl.profile(f)(fnp.ones((2, 9, 9, 3)), fnp.ones((3, 3, 3, 8))), "convolution")
    assert kernel.flops == 2 * (2 * 4 * 4 * 8) * (3 * 3 * 3)
    assert kernel.bytes == 4 * (2 * 9 * 9 * 3 + 3 * 3 * 3 * 8 + 2 * 4 * 4 * 8)
    assert "stride 2x2" in kernel.what


def test_work_of_a_loop_nest_counts_each_operation_and_each_array_once():
    (kernel,) = fdl.profile(lambda x, y: fnp.exp(x * y) + x)(fnp.ones(1000), fnp.ones(1000)).kernels
    assert (kernel.flops, kernel.bytes) == (3 * 1000, 4 * 3 * 1000)
    assert kernel.what == "mul, exp, add (1000)"


def test_a_sum_adds_every_element():
    kernels = fdl.profile(lambda x: fnp.sum(x, axis=0))(fnp.ones((2048, 512))).kernels
    assert sum(k.flops for k in kernels) >= 2048 * 512
    assert sum(k.bytes for k in kernels) >= 4 * 2048 * 512
    assert all(k.source for k in kernels), kernels


def test_only_what_is_read_counts():
    def f(x):
        return fnp.cumsum(x[:10] * 2.0)

    found = fdl.profile(f)(fnp.ones(100_000))
    assert sum(k.bytes for k in found.kernels) < 1000


def test_a_function_that_computes_nothing_has_no_kernels():
    assert fdl.profile(lambda x: x)(fnp.ones(3)).kernels == ()


def test_kernels_add_up_to_the_call():
    def f(x):
        for _ in range(4):
            x = nn.softmax(x @ x)
        return x

    found = fdl.profile(f)(fnp.ones((256, 256)))
    assert 0.5 * found.seconds < sum(k.seconds for k in found.kernels) <= found.seconds
    assert found.flops >= 4 * 2 * 256**3
    assert found.peak_memory >= 4 * 256 * 256
    assert found.kernels[0].seconds == max(k.seconds for k in found.kernels)


@pytest.mark.parametrize("threads", [1, 2])
def test_steps_inside_of_loops_count_every_time_but_their_time_once(threads):
    def f(w, x):
        return lax.scan(lambda h, _: (fnp.tanh(h @ w), None), x, length=13)[0]

    before = fdl.get_num_threads()
    fdl.set_num_threads(threads)
    try:
        found = fdl.profile(f)(fnp.eye(128), fnp.ones((256, 128)))
    finally:
        fdl.set_num_threads(before)
    assert found.threads == threads
    assert found.flops == 13 * (2 * 256 * 128 * 128 + 256 * 128)
    assert {k.calls for k in named(found, "matmul")} == {13}
    assert all(k.seconds >= 0 for k in found.kernels)
    assert sum(k.seconds for k in found.kernels) <= found.seconds


def test_derivatives_name_the_line_that_they_are_derivatives_of():
    def loss(w, x):
        hidden = nn.relu(x @ w)
        return fnp.sum(hidden**2)

    found = fdl.profile(fdl.jit(fdl.grad(loss)))(fnp.ones((20, 30)), fnp.ones((40, 20)))
    line = loss.__code__.co_firstlineno + 1
    sources = {kernel.source for kernel in named(found, "matmul")}
    assert sources == {f"test_profile.py:{line} (loss)", f"test_profile.py:{line} (loss), backward"}


def test_arguments_are_as_before():
    step = fdl.jit(lambda x, n: x * n, donate_argnums=0, static_argnums=1)
    x = fnp.arange(5.0)
    found = fdl.profile(step)(x, 3)
    np.testing.assert_array_equal(x, np.arange(5.0))
    assert found.peak_memory < 100, "the result takes the place of the donated argument"


def test_a_host_call_is_a_kernel():
    found = fdl.profile(fnp.linalg.eigvalsh)(fnp.eye(6))
    assert named(found, "eig"), str(found)


def test_what_is_no_array_is_refused():
    with pytest.raises(fdl.errors.LeafError, match="x"):
        fdl.profile(lambda x: x)("text")


class _Text(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.data: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.data.append(data)


def example(**changes) -> Profile:
    kernel = Kernel("matmul (2, 3) @ (3, 4)", "a<b>&c.py:1 (f)", 7, 2e-3, 48, 104, 0.25)
    values = {"name": "<script>", "seconds": 4e-3, "threads": 2, "peak_memory": 2**21} | changes
    return Profile(kernels=(kernel,) * 30, peak_flops=1e11, peak_bytes=2e10, **values)


def test_html_escapes_what_users_wrote():
    parser = _Text()
    parser.feed(example()._repr_html_())
    assert parser.tags == {"div", "b", "table", "thead", "tbody", "tr", "th", "td"}
    assert "a<b>&c.py:1 (f)" in parser.data
    assert any("<script>" in text for text in parser.data)


def test_the_table_is_aligned_and_complete():
    heading, machine, empty, names, *rows = str(example()).splitlines()
    assert heading.startswith("<script>: 4.000 ms on 2 threads")
    assert "100 GFLOP/s, 20.0 GB/s" in machine
    assert empty == ""
    place = names.index("source")
    assert all(row[place:] == "a<b>&c.py:1 (f)" for row in rows[:-1])
    assert rows[0].split()[:3] == ["2.000", "50", "7"]
    assert "25 %" in rows[0]
    assert rows[-1].endswith("5 other kernels")


def test_plot_has_a_bar_for_each_kernel():
    pytest.importorskip("matplotlib").use("Agg")
    from matplotlib import pyplot

    axes = example().plot()
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([2.0] * 25)
    given = pyplot.figure().gca()
    assert example().plot(given) is given
    pyplot.close("all")


def test_partial_functions_have_names():
    assert str(fdl.profile(partial(fnp.multiply, 2.0))(fnp.ones(3)))


def test_what_is_done_on_a_product_at_once_is_named_and_counted():
    found = fdl.profile(lambda x, w, b: fnp.tanh(x @ w + b))(fnp.ones((64, 32)), fnp.ones((32, 48)), fnp.ones(48))
    (kernel,) = found.kernels
    assert kernel.what == "matmul (64, 32) @ (32, 48), then add, tanh"
    assert kernel.flops == 2 * 64 * 32 * 48 + 2 * 64 * 48
    assert kernel.bytes == 4 * (64 * 32 + 32 * 48 + 48 + 64 * 48)


def test_partial_sums_are_counted_where_they_are_made():
    kernels = fdl.profile(lambda x: fnp.sum(fnp.exp(x)))(fnp.ones(2**20)).kernels
    assert sum(k.flops for k in kernels) == pytest.approx(2 * 2**20, rel=0.01)
    assert sum(k.bytes for k in kernels) == pytest.approx(4 * 2**20, rel=0.01)


def test_no_share_of_the_peak_is_above_all_of_it():
    fast = Kernel("add (4,)", "a.py:1 (f)", 1, 2e-3, 48, 104, 1.25)
    found = Profile("f", (fast,), 4e-3, 1, 0, 1e11, 2e10)
    assert "125" not in str(found) + found._repr_html_() and repr(found) == str(found)
    assert "width: 50.0%" in found._repr_html_()
