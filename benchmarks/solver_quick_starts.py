# mypy: ignore-errors
"""The first examples of JAX's libraries of solvers and samplers; benchmarks/quick_starts.py runs them."""

import jax
import jax.numpy as jnp
import numpy as np


def equinox() -> str:
    """Train a perceptron of Equinox."""
    import equinox as eqx

    x = jnp.linspace(-1, 1, 64)[:, None]
    y = jnp.sin(3 * x)
    model = eqx.nn.MLP(1, 1, 32, 2, key=jax.random.key(0))

    @eqx.filter_jit
    def step(model):
        value, grads = eqx.filter_value_and_grad(lambda m: ((jax.vmap(m)(x) - y) ** 2).mean())(model)
        return eqx.apply_updates(model, jax.tree.map(lambda g: -0.1 * g, grads)), value

    model, first = step(model)
    for _ in range(300):
        model, last = step(model)
    assert last < 0.4 * first, (first, last)
    return f"loss {first:.3f} to {last:.3f}"


def lineax() -> str:
    """Solve least squares by QR and a system by GMRES, and differentiate a solution."""
    import lineax as lx

    rng = np.random.default_rng(0)
    matrix, vector = rng.normal(size=(10, 8)).astype("float32"), rng.normal(size=10).astype("float32")
    found = lx.linear_solve(lx.MatrixLinearOperator(jnp.asarray(matrix)), jnp.asarray(vector), solver=lx.QR()).value
    np.testing.assert_allclose(found, np.linalg.lstsq(matrix, vector, rcond=None)[0], atol=1e-4)
    operator = lx.JacobianLinearOperator(lambda y, args: y + 0.1 * jnp.sin(y), jnp.arange(3.0), args=None)
    found = lx.linear_solve(operator, jnp.ones(3), solver=lx.GMRES(rtol=1e-6, atol=1e-6)).value
    np.testing.assert_allclose(found, 1 / (1 + 0.1 * np.cos(np.arange(3.0))), rtol=1e-4)
    derivative = jax.grad(lambda d: lx.linear_solve(lx.DiagonalLinearOperator(d), jnp.ones(2)).value.sum())(
        jnp.array([1.0, 2.0])
    )
    np.testing.assert_allclose(derivative, [-1, -0.25], rtol=1e-5)
    return "least squares, GMRES and derivatives agree with NumPy"


def optimistix() -> str:
    """Find a root, a fixed point, least squares and a minimum, and the derivative of a root."""
    import optimistix as optx

    def root(a):
        solver = optx.Newton(rtol=1e-6, atol=1e-6)
        return optx.root_find(lambda y, a: jnp.tanh(y) - a + y, solver, jnp.array(0.1), args=a).value

    y, derivative = jax.value_and_grad(root)(1.0)
    np.testing.assert_allclose([np.tanh(y) + y, derivative * (2 - np.tanh(y) ** 2)], 1, rtol=1e-4)
    steps = optx.FixedPointIteration(rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        optx.fixed_point(lambda y, _: jnp.cos(y), steps, jnp.array(0.5)).value, 0.739085, rtol=1e-4
    )
    solver = optx.LevenbergMarquardt(rtol=1e-6, atol=1e-6)
    banana = optx.least_squares(lambda y, _: (10 * (y[1] - y[0] ** 2), 1 - y[0]), solver, jnp.array([-1.0, 1.5])).value
    np.testing.assert_allclose(banana, 1, rtol=1e-4)
    solver = optx.BFGS(rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        optx.minimise(lambda y, _: ((y - 2) ** 2).sum(), solver, jnp.zeros(3)).value, 2, rtol=1e-4
    )
    return "roots, fixed points, minima and an implicit derivative are right"


def diffrax() -> str:
    """Solve an ordinary differential equation, with steps of its own choosing, and differentiate the solution."""
    import diffrax

    term, y0 = diffrax.ODETerm(lambda t, y, args: -y), jnp.array([2.0, 3.0])
    saved, controller = diffrax.SaveAt(ts=[0.0, 1.0, 2.0]), diffrax.PIDController(rtol=1e-5, atol=1e-5)
    found = diffrax.diffeqsolve(
        term, diffrax.Dopri5(), t0=0, t1=2, dt0=0.1, y0=y0, saveat=saved, stepsize_controller=controller
    )
    np.testing.assert_allclose(found.ys, np.exp(-np.arange(3.0))[:, None] * np.array([2, 3]), rtol=1e-4)
    derivatives = jax.grad(lambda y: diffrax.diffeqsolve(term, diffrax.Tsit5(), t0=0, t1=1, dt0=0.1, y0=y).ys.sum())(y0)
    np.testing.assert_allclose(derivatives, np.exp(-1), rtol=1e-4)
    return "a solution and its reverse-mode derivative are right"


def jaxopt() -> str:
    """Ridge regression by L-BFGS, and the derivative of its solution by the penalty."""
    import jaxopt

    rng = np.random.default_rng(0)
    x, y = jnp.array(rng.normal(size=(50, 4)), "float32"), jnp.array(rng.normal(size=50), "float32")
    solver = jaxopt.LBFGS(fun=lambda w, penalty: ((x @ w - y) ** 2).mean() + 0.5 * penalty * (w**2).sum(), maxiter=100)
    exact = lambda penalty: jnp.linalg.solve(2 * x.T @ x / 50 + penalty * jnp.eye(4), 2 * x.T @ y / 50)  # noqa: E731
    np.testing.assert_allclose(solver.run(jnp.zeros(4), 0.1).params, exact(0.1), atol=1e-3)
    derivatives = jax.jacrev(lambda penalty: solver.run(jnp.zeros(4), penalty).params)(0.1)
    np.testing.assert_allclose(derivatives, jax.jacfwd(exact)(0.1), atol=1e-3)
    return "solutions and implicit derivatives agree with the normal equations"


def tinygp() -> str:
    """Fit a Gaussian process to a sine and predict between its points."""
    from tinygp import GaussianProcess, kernels

    x = np.sort(np.random.default_rng(1).uniform(0, 10, 30)).astype("float32")
    build = lambda p: GaussianProcess(jnp.exp(p["a"]) * kernels.ExpSquared(jnp.exp(p["s"])), x, diag=1e-3)  # noqa: E731

    @jax.jit
    def step(p):
        value, grads = jax.value_and_grad(lambda p: -build(p).log_probability(jnp.sin(x)))(p)
        return jax.tree.map(lambda a, g: a - 0.01 * g, p, grads), value

    p = {"a": jnp.float32(0), "s": jnp.float32(0)}
    for _ in range(30):
        p, _ = step(p)
    at = jnp.linspace(1, 9, 5)
    np.testing.assert_allclose(build(p).condition(jnp.sin(x), at).gp.loc, jnp.sin(at), atol=0.1)
    return "predictions are within 0.1 of the function"


def blackjax() -> str:
    """Sample a normal distribution's location and scale by NUTS."""
    import blackjax

    observed = np.random.default_rng(0).normal(10, 2, size=200).astype("float32")
    density = lambda x: jax.scipy.stats.norm.logpdf(observed, x["loc"], jnp.exp(x["scale"])).sum()  # noqa: E731
    sampler = blackjax.nuts(density, 0.1, np.array([0.02, 0.005], "float32"))
    state, step, found = sampler.init({"loc": jnp.float32(8), "scale": jnp.float32(0)}), jax.jit(sampler.step), []
    for key in jax.random.split(jax.random.key(0), 300):
        state, _ = step(key, state)
        found.append(float(state.position["loc"]))
    mean = np.mean(found[100:])
    assert abs(mean - observed.mean()) < 0.1, mean
    return f"the mean of the samples is {mean:.2f}, that of the data {observed.mean():.2f}"


def numpyro() -> str:
    """Sample the effects of coaching in eight schools by NUTS, with and without their parameters centred."""
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import MCMC, NUTS
    from numpyro.infer.reparam import TransformReparam

    y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    sigma = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])

    def schools(y=None):
        mu, tau = numpyro.sample("mu", dist.Normal(0, 5)), numpyro.sample("tau", dist.HalfCauchy(5))
        with numpyro.plate("J", len(sigma)), numpyro.handlers.reparam(config={"theta": TransformReparam()}):
            theta = numpyro.sample(
                "theta", dist.TransformedDistribution(dist.Normal(0.0, 1.0), dist.transforms.AffineTransform(mu, tau))
            )
            numpyro.sample("obs", dist.Normal(theta, sigma), obs=y)

    mcmc = MCMC(NUTS(schools), num_warmup=500, num_samples=1000, progress_bar=False)
    mcmc.run(jax.random.PRNGKey(0), y=y)
    found = mcmc.get_samples()
    mu, tau = found["mu"].mean(), found["tau"].mean()
    assert 3 < mu < 6 and 2 < tau < 6, (mu, tau)  # 4.4 and 3.6 with many samples
    return f"the mean effect is {mu:.1f}, its deviation between schools {tau:.1f}"


SOLVERS = {f.__name__: f for f in (blackjax, diffrax, equinox, jaxopt, lineax, numpyro, optimistix, tinygp)}
