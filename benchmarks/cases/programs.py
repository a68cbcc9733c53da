"""Attention, recurrent networks, scans, optimizers, random numbers, eager operations and the overhead of calls."""

from typing import Any

import numpy as np

from benchmarks.cases.case import Case, indices, moments, normal, sized, sizes_only, with_gradient

#: Batch, length, heads, width of a head, causal.
ATTENTION = [
    (8, 64, 4, 32, True), (2, 512, 8, 64, False), (2, 512, 8, 64, True), (1, 1024, 8, 64, True), (1, 4096, 2, 64, True),
    (1, 2048, 4, 64, False), (16, 128, 12, 64, False), (4, 197, 6, 64, False),
]  # fmt: skip


def attention() -> list[Case]:
    """Queries, keys and values [batch, length, heads, width]."""
    found = []
    for b, length, heads, width, causal in ATTENTION:
        shape = (b, length, heads, width)

        def functional(xp: Any, q: Any, k: Any, v: Any, causal: bool = causal) -> Any:
            return xp.nn.dot_product_attention(q, k, v, is_causal=causal)

        def torch(t: Any, q: Any, k: Any, v: Any, causal: bool = causal) -> Any:
            q, k, v = (x.transpose(1, 2) for x in (q, k, v))
            return t.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2)

        name = f"{sized(*shape)}{', causal' * causal}"
        found += with_gradient(Case(name, normal(shape, shape, shape), functional, torch, wrt=(0, 1, 2)))
    return found


def recurrent() -> list[Case]:
    """Plain, gated and LSTM cells over time; PyTorch has kernels of its own for them."""
    found = []
    for steps, b, width in ((35, 20, 200), (100, 32, 64), (50, 1, 128), (35, 20, 650)):
        for name, gates in (("RNN", 1), ("GRU", 3), ("LSTM", 4)):

            def operands(rng: np.random.Generator, s: int = steps, b: int = b, n: int = width, g: int = gates) -> list:
                shapes = ((s, b, n), (g * n, n), (g * n, n), (g * n,), (g * n,))
                return [(rng.standard_normal(x) / (n**0.5 if len(x) < 3 else 1)).astype(np.float32) for x in shapes]

            def functional(xp: Any, x: Any, w: Any, u: Any, a: Any, c: Any, name: str = name) -> Any:
                nn, numpy = xp.nn, xp.numpy

                def step(carry: Any, x: Any) -> Any:
                    h, cell = carry
                    here, before = x @ w.T + a, h @ u.T + c
                    if name == "RNN":
                        h = numpy.tanh(here + before)
                    elif name == "GRU":
                        (r, z, n), (r2, z2, n2) = numpy.split(here, 3, -1), numpy.split(before, 3, -1)
                        z = nn.sigmoid(z + z2)
                        h = (1 - z) * numpy.tanh(n + nn.sigmoid(r + r2) * n2) + z * h
                    else:
                        i, f, g, o = numpy.split(here + before, 4, -1)
                        cell = nn.sigmoid(f) * cell + nn.sigmoid(i) * numpy.tanh(g)
                        h = nn.sigmoid(o) * numpy.tanh(cell)
                    return (h, cell), h

                start = numpy.zeros((x.shape[1], w.shape[1]), "float32")
                return xp.lax.scan(step, (start, start), x)[1]

            def torch(t: Any, x: Any, w: Any, u: Any, a: Any, c: Any, name: str = name) -> Any:
                start = t.zeros((1, x.shape[1], w.shape[1]))
                if name == "LSTM":
                    return t._VF.lstm(x, (start, start), [w, u, a, c], True, 1, 0.0, False, False, False)[0]
                function = t._VF.gru if name == "GRU" else t._VF.rnn_tanh
                return function(x, start, [w, u, a, c], True, 1, 0.0, False, False, False)[0]

            case = Case(f"{name} {steps} steps, {b} of {width}", operands, functional, torch, wrt=(0, 1, 2, 3, 4))
            found += with_gradient(case)
    return found


def scans() -> list[Case]:
    """Recurrences over time that are not layers, step by step and associative."""
    found = []
    for steps, width in ((1000, 1), (1000, 100), (10_000, 10)):

        def smooth(xp: Any, x: Any) -> Any:
            def step(carry: Any, x: Any) -> Any:
                carry = 0.9 * carry + 0.1 * xp.numpy.tanh(x)
                return carry, carry

            return xp.lax.scan(step, 0 * x[0], x)[1]

        def smooth_torch(t: Any, x: Any) -> Any:
            carry, seen = 0 * x[0], []
            for row in x:
                carry = 0.9 * carry + 0.1 * t.tanh(row)
                seen.append(carry)
            return t.stack(seen)

        found += with_gradient(Case(f"smoothing {sized(steps, width)}", normal((steps, width)), smooth, smooth_torch))
        linear = Case(
            f"associative, linear recurrence {sized(steps, width)}", normal((steps, width)),
            lambda xp, x: xp.lax.associative_scan(lambda a, b: (a[0] * b[0], b[0] * a[1] + b[1]), (0 * x + 0.5, x))[1],
            None,
        )  # fmt: skip
        found += with_gradient(linear)
    newton = Case(
        "while: square roots by Newton's method, 100k", lambda rng: [1 + rng.random(100_000, "f4")],
        lambda xp, x: xp.lax.fori_loop(0, 20, lambda _, y: 0.5 * (y + x / y), x), _newton_torch,
    )  # fmt: skip
    return [*found, newton]


def _newton_torch(t: Any, x: Any) -> Any:
    y = x
    for _ in range(20):
        y = 0.5 * (y + x / y)
    return y


def optimizers() -> list[Case]:
    """Updates of twenty arrays; PyTorch's functional forms, many arrays at once."""
    shapes = [(256, 256)] * 10 + [(256,)] * 10
    made = normal(*shapes, *shapes)

    def momentum(xp: Any, *a: Any) -> Any:
        return [p - 0.1 * (0.9 * p + g) for p, g in zip(a[:20], a[20:], strict=True)]

    def momentum_torch(t: Any, *a: Any) -> Any:
        velocity = t._foreach_add(t._foreach_mul(a[:20], 0.9), a[20:])
        return t._foreach_sub(a[:20], t._foreach_mul(velocity, 0.1))

    def adam(xp: Any, *a: Any) -> Any:
        found = []
        for p, g in zip(a[:20], a[20:], strict=True):
            m, s = 0.1 * g, 0.001 * g * g
            found.append(p - 1e-3 * m / (xp.numpy.sqrt(s) + 1e-8))
        return found

    def adam_torch(t: Any, *a: Any) -> Any:
        m = t._foreach_mul(a[20:], 0.1)
        root = t._foreach_add(t._foreach_sqrt(t._foreach_mul(t._foreach_mul(a[20:], a[20:]), 0.001)), 1e-8)
        return t._foreach_sub(a[:20], t._foreach_mul(t._foreach_div(m, root), 1e-3))

    def clipped(xp: Any, *a: Any) -> Any:
        norm = sum((g * g).sum() for g in a[20:]) ** 0.5
        return [g / norm for g in a[20:]]

    def clipped_torch(t: Any, *a: Any) -> Any:
        norm = t.linalg.vector_norm(t.stack(t._foreach_norm(a[20:])))
        return t._foreach_div(a[20:], norm)

    return [
        Case("momentum", made, momentum, momentum_torch),
        Case("adam", made, adam, adam_torch, tolerance=1e-2),
        Case("clipping by the global norm", made, clipped, clipped_torch),
    ]


def random() -> list[Case]:
    """Draws, with the key given as an operand. NumPy's seed for PyTorch is of no matter: moments are compared."""

    def key(rng: np.random.Generator) -> list[np.ndarray]:
        return [np.array([0, 7], np.uint32)]

    found = []

    def draw(name: str, functional: Any, torch: Any, check: Any = moments) -> None:
        def from_key(xp: Any, key: Any, f: Any = functional) -> Any:
            return f(xp.random, xp.random.wrap_key_data(key))

        found.append(Case(name, key, from_key, lambda t, _, f=torch: f(t), narrow=True, check=check))

    for n in (1000, 1_000_000):
        size = f"{n:,}"
        draw(f"bits {size}", lambda r, k, n=n: r.bits(k, (n,)), lambda t, n=n: t.randint(0, 2**31, (n,)), sizes_only)
        draw(f"uniform {size}", lambda r, k, n=n: r.uniform(k, (n,), "float32"), lambda t, n=n: t.rand(n))
        draw(f"normal {size}", lambda r, k, n=n: r.normal(k, (n,), "float32"), lambda t, n=n: t.randn(n))
        draw(f"randint {size}", lambda r, k, n=n: r.randint(k, (n,), 0, 1000), lambda t, n=n: t.randint(0, 1000, (n,)))
        draw(
            f"bernoulli {size}", lambda r, k, n=n: r.bernoulli(k, 0.3, (n,)),
            lambda t, n=n: t.empty(n, dtype=t.bool).bernoulli_(0.3),
        )  # fmt: skip
        draw(
            f"exponential {size}",
            lambda r, k, n=n: r.exponential(k, (n,), "float32"),
            lambda t, n=n: t.empty(n).exponential_(),
        )
        draw(f"permutation {size}", lambda r, k, n=n: r.permutation(k, n), lambda t, n=n: t.randperm(n))
    n = 100_000
    draw(
        "gamma 2.5 100k", lambda r, k: r.gamma(k, 2.5, (n,), "float32"), lambda t: t._standard_gamma(t.full((n,), 2.5))
    )
    draw(
        "gamma 0.5 100k", lambda r, k: r.gamma(k, 0.5, (n,), "float32"), lambda t: t._standard_gamma(t.full((n,), 0.5))
    )
    draw("poisson 4 100k", lambda r, k: r.poisson(k, 4.0, (n,)), lambda t: t.poisson(t.full((n,), 4.0)))
    draw("poisson 100 100k", lambda r, k: r.poisson(k, 100.0, (n,)), lambda t: t.poisson(t.full((n,), 100.0)))
    draw(
        "binomial 20 100k",
        lambda r, k: r.binomial(k, 20, 0.3, (n,)),
        lambda t: t.binomial(t.full((n,), 20.0), t.full((n,), 0.3)),
    )
    draw(
        "truncated normal 100k", lambda r, k: r.truncated_normal(k, -1, 1, (n,), "float32"),
        lambda t: t.nn.init.trunc_normal_(t.empty(n), a=-1.0, b=1.0),
    )  # fmt: skip
    draw("gumbel 100k", lambda r, k: r.gumbel(k, (n,), "float32"), lambda t: -t.empty(n).exponential_().log())
    draw(
        "laplace 100k",
        lambda r, k: r.laplace(k, (n,), "float32"),
        lambda t: t.distributions.Laplace(0.0, 1.0).sample((n,)),
    )
    draw(
        "choice without replacement 1000 of 100k",
        lambda r, k: r.choice(k, n, (1000,), replace=False),
        lambda t: t.multinomial(t.ones(n), 1000), sizes_only,
    )  # fmt: skip

    def weighted(rng: np.random.Generator) -> list[np.ndarray]:
        return [np.array([0, 7], np.uint32), rng.standard_normal((1000, 100)).astype(np.float32)]

    found.append(
        Case(
            "categorical 1000 of 100", weighted,
            lambda xp, k, x: xp.random.categorical(xp.random.wrap_key_data(k), x),
            lambda t, _, x: t.multinomial(x.softmax(-1), 1)[:, 0], narrow=True, check=sizes_only,
        )
    )  # fmt: skip
    return found


def eager() -> list[Case]:
    """Single operations outside of jit, on small and on middle-sized arrays."""
    found = []
    functions: list[tuple[str, Any, Any]] = [
        ("add", lambda xp, x: x + x, lambda t, x: x + x),
        ("multiply by a number", lambda xp, x: x * 2, lambda t, x: x * 2),
        ("exp", lambda xp, x: xp.numpy.exp(x), lambda t, x: t.exp(x)),
        ("sum", lambda xp, x: x.sum(), lambda t, x: x.sum()),
        ("max of rows", lambda xp, x: x.max(1), lambda t, x: x.amax(1)),
        ("matmul", lambda xp, x: x @ x, lambda t, x: x @ x),
        ("reshape", lambda xp, x: x.reshape(-1), lambda t, x: x.reshape(-1)),
        ("T", lambda xp, x: x.T, lambda t, x: x.T),
        ("x[0]", lambda xp, x: x[0], lambda t, x: x[0]),
        ("concatenate", lambda xp, x: xp.numpy.concatenate([x, x]), lambda t, x: t.cat([x, x])),
        ("where", lambda xp, x: xp.numpy.where(x > 0, x, 0), lambda t, x: t.where(x > 0, x, 0)),
        ("softmax", lambda xp, x: xp.nn.softmax(x), lambda t, x: x.softmax(-1)),
        ("einsum", lambda xp, x: xp.numpy.einsum("ij,kj->ik", x, x), lambda t, x: t.einsum("ij,kj->ik", x, x)),
        ("sort", lambda xp, x: xp.numpy.sort(x), lambda t, x: t.sort(x)[0]),
        ("cumsum", lambda xp, x: xp.numpy.cumsum(x, 1), lambda t, x: x.cumsum(1)),
        ("lookup", lambda xp, x: x[np.array([0, 2, 1])], lambda t, x: x[t.tensor([0, 2, 1])]),
        ("astype", lambda xp, x: x.astype("int32"), lambda t, x: x.int()),
        ("solve", lambda xp, x: xp.numpy.linalg.solve(x + 9 * xp.numpy.eye(len(x)), x),
         lambda t, x: t.linalg.solve(x + 9 * t.eye(len(x)), x)),
    ]  # fmt: skip
    for n in (4, 64, 512):
        found += [Case(f"{name} {n}x{n}", normal((n, n)), f, g, jit=False) for name, f, g in functions]
    slope = Case(
        "gradient of tanh(x @ x) 4x4", normal((4, 4)), lambda xp, x: xp.grad(lambda x: xp.numpy.tanh(x @ x).sum())(x),
        _slope_torch, jit=False,
    )  # fmt: skip
    keyed = Case(
        "random.normal of 3", lambda rng: [np.array([0, 7], np.uint32)],
        lambda xp, k: xp.random.normal(k, (3,), "float32"), lambda t, _: t.randn(3), jit=False,
        narrow=True, check=sizes_only,
    )  # fmt: skip
    image = Case(
        "convolution 3x3 16-16 of 1x32x32", normal((1, 32, 32, 16), (3, 3, 16, 16)),
        lambda xp, x, w: xp.lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")),
        lambda t, x, w: t.nn.functional.conv2d(x.permute(0, 3, 1, 2), w.permute(3, 2, 0, 1)).permute(0, 2, 3, 1),
        jit=False,
    )  # fmt: skip
    return [*found, slope, keyed, image]


def _slope_torch(t: Any, x: Any) -> Any:
    x = x.clone().requires_grad_()
    with t.enable_grad():
        return t.autograd.grad(t.tanh(x @ x).sum(), x)[0]


def calls() -> list[Case]:
    """Compiled functions that do next to nothing."""
    many = normal(*[(3,)] * 50)

    def scalars(rng: np.random.Generator) -> list[np.ndarray]:
        return [np.array(rng.standard_normal(), np.float32), indices(rng, 9, 4)]

    return [
        Case("one array", normal((4,)), lambda _, x: x + 1, lambda _, x: x + 1),
        Case("two arrays", normal((4,), (4,)), lambda _, x, y: x * y, lambda _, x, y: x * y),
        Case("50 arrays in and out", many, lambda _, *a: [x + 1 for x in a], lambda t, *a: t._foreach_add(a, 1)),
        Case("a scalar and integers", scalars, lambda _, x, i: x * i, lambda _, x, i: x * i),
        Case("a network of 4-32-2", normal((8, 4), (4, 32), (32, 2)),
             lambda xp, x, w, u: xp.nn.relu(x @ w) @ u, lambda t, x, w, u: t.relu(x @ w) @ u),
    ]  # fmt: skip
