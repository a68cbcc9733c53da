"""The Array API: what the standard asks of a library, and packages that work on arrays of any library.

The standard's own test suite is run outside of CI, by benchmarks/array_api.py.
"""

import math
import os
import subprocess
import sys

import array_api_compat
import array_api_extra
import einops.array_api
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fdl
import fdl.numpy as fnp

PROCESSOR = fdl.devices()[0]


def test_the_namespace_says_what_it_has():
    info = fnp.ones(2).__array_namespace__(api_version="2024.12").__array_namespace_info__()
    assert info.devices() == [PROCESSOR] == [info.default_device()]
    assert info.default_dtypes()["complex floating"] == np.complex64
    assert info.dtypes(kind=("bool", "real floating")) == {"bool": bool, "float32": np.float32, "float64": np.float64}
    assert "bfloat16" not in info.dtypes() and len(info.dtypes()) == 13
    assert fnp.ones((1,) * info.capabilities()["max dimensions"]).ndim == 64


@pytest.mark.parametrize("device", [None, "cpu", PROCESSOR, fdl.sharding.SingleDeviceSharding(PROCESSOR)])
def test_arrays_are_made_on_the_one_device(device):
    made = [
        fnp.asarray([1.0], device=device), fnp.zeros(2, device=device), fnp.full_like(fnp.ones(2), 3, device=device),
        fnp.linspace(0, 1, 3, device=device), fnp.eye(2, device=device), fnp.fft.rfftfreq(4, device=device),
        fnp.ones(1).to_device(device), fnp.ones(1).astype(int, device=device),
        fnp.from_dlpack(np.ones(1), device=device),
    ]  # fmt: skip
    assert all(x.device == PROCESSOR for x in made)


@pytest.mark.parametrize("device", ["gpu", 0, fdl.devices])
def test_there_is_no_other_device(device):
    for make in (fnp.zeros, fnp.ones, fnp.asarray, fnp.arange, fnp.fft.fftfreq):
        with pytest.raises(ValueError, match="there is no device"):
            make(3, device=device)
    with pytest.raises(ValueError, match="to_device: there is no device"):
        fnp.ones(2).to_device(device)
    with pytest.raises(ValueError, match="no streams"):
        fnp.ones(2).to_device(PROCESSOR, stream=1)


def test_dlpack_takes_the_arguments_of_the_standard():
    x = fnp.arange(3)
    assert_array_equal(np.from_dlpack(x, device="cpu", copy=True), [0, 1, 2])
    assert np.shares_memory(np.from_dlpack(x), np.asarray(x))
    with pytest.raises(BufferError, match="device"):
        x.__dlpack__(dl_device=(2, 0))
    with pytest.raises(ValueError, match="no streams"):
        x.__dlpack__(stream=7)


INF = math.inf


@pytest.mark.parametrize("jitted", [False, True])
def test_quotients_of_infinities_are_rounded_ratios(jitted):
    """Values of the standard, where Python and NumPy have NaN and -1."""
    x, y = np.float32([INF, INF, -INF, 1, -1, 1, INF, 0]), np.float32([2, -2, 2, -INF, INF, INF, INF, -INF])
    found = (fdl.jit(fnp.floor_divide) if jitted else fnp.floor_divide)(x, y)
    expected = np.float32([INF, -INF, -INF, -0.0, -0.0, 0.0, math.nan, -0.0])
    assert_array_equal(found, expected)
    assert_array_equal(np.signbit(found[3:6]), [True, True, False])


@pytest.mark.parametrize("jitted", [False, True])
def test_signs_of_complex_zeros(jitted):
    tanh, expm1 = (fdl.jit(fnp.tanh), fdl.jit(fnp.expm1)) if jitted else (fnp.tanh, fnp.expm1)
    found = np.asarray(tanh(np.array([complex(INF, 2.0), complex(-INF, -2.0), complex(INF, 1.0)])))
    assert_array_equal(found.real, [1, -1, 1])
    assert_array_equal(np.signbit(found.imag), [False, True, False])
    found = np.asarray(expm1(np.array([complex(-0.0, 0.0), complex(0.0, -0.0)])))
    assert_array_equal(found, 0)
    assert_array_equal(np.signbit([found.real, found.imag]), [[False, False], [False, True]])


def test_limits_are_numbers_that_take_the_dtype_of_arrays():
    limits = fnp.finfo(fnp.float32)
    assert type(limits.eps) is type(limits.max) is float and limits.eps == 2.0**-23
    assert (fnp.ones(2, fnp.bfloat16) + limits.eps).dtype == fnp.bfloat16
    assert limits.bits == 32 and limits.dtype == np.float32 and fnp.finfo(fnp.complex128).max == np.finfo(float).max
    assert fnp.finfo(fnp.bfloat16).max == 2.0**127 * (2 - 2.0**-7)
    assert fnp.float64 != None  # noqa: E711 NumPy says that its own is equal


def test_array_api_compat_and_extra():
    x = fnp.arange(6.0).reshape(2, 3)
    assert array_api_compat.array_namespace(x, fnp.ones(2)) is fnp
    assert array_api_compat.device(x) == PROCESSOR and array_api_compat.size(x) == 6
    assert_array_equal(array_api_extra.atleast_nd(x, ndim=3, xp=fnp), np.asarray(x)[None])
    assert_allclose(array_api_extra.cov(x, xp=fnp), np.cov(x), rtol=1e-6)
    assert_array_equal(array_api_extra.kron(x, x, xp=fnp), np.kron(x, x))
    assert_array_equal(array_api_extra.one_hot(fnp.asarray([2, 0]), 3, xp=fnp), [[0, 0, 1], [1, 0, 0]])
    assert array_api_extra.nunique(x % 4, xp=fnp) == 4


def test_einops():
    x = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4)
    expected = x.transpose(1, 0, 2).reshape(3, 8)
    assert_array_equal(einops.array_api.rearrange(fnp.asarray(x), "a b c -> b (a c)"), expected)
    traced = fdl.jit(lambda x: einops.array_api.reduce(x, "a (b k) c -> a b c", "max", k=3))(x)
    assert_array_equal(traced, x.max(1, keepdims=True))


#: Libraries that know JAX's arrays update them by ``x.at``; under its name they do so with those of fdl.
UNDER_THE_NAME = """
import fdl
fdl.install_as_jax()
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
import array_api_extra, einops
from beartype import beartype
from jaxtyping import Float, Int, TypeCheckError, jaxtyped
from scipy import special, stats
from scipy.cluster import vq

x = np.random.default_rng(0).uniform(0.1, 0.9, (20, 3))
a = jnp.asarray(x)
def agree(found, expected):
    assert isinstance(found, jax.Array), type(found)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
agree(array_api_extra.at(a)[0, :].set(7.0)[0], [7, 7, 7])
agree(array_api_extra.pad(a, 1), np.pad(x, 1))
agree(einops.rearrange(a, "n d -> d n"), x.T)
agree(special.logsumexp(a, axis=1), special.logsumexp(x, axis=1))
agree(special.betainc(a, a, a), special.betainc(x, x, x))
agree(stats.zscore(a), stats.zscore(x))
agree(stats.pearsonr(a[:, 0], a[:, 1]).statistic, stats.pearsonr(x[:, 0], x[:, 1]).statistic)
agree(vq.whiten(a), vq.whiten(x))

@jaxtyped(typechecker=beartype)
def scores(x: Float[fdl.Array, "n d"], w: Float[jax.Array, " d"], k: Int[fdl.Array, ""]) -> Float[fdl.Array, " n"]:
    return x @ w * k

w, k = jnp.ones(3), jnp.asarray(2)
for f, rows in ((scores, a), (jax.jit(scores), a), (jax.vmap(scores, in_axes=(0, None, None)), a[None])):
    agree(f(rows, w, k).reshape(-1), 2 * x.sum(1))
try:
    scores(a, jnp.ones(2), k)
except TypeCheckError as error:
    assert "parameter 'w'" in str(error), error
else:
    raise AssertionError("a vector of another length passed")
"""


def test_scipy_and_others_under_the_name_of_jax():
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", UNDER_THE_NAME],
        env=os.environ | {"SCIPY_ARRAY_API": "1"},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
