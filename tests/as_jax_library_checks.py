"""More checks under the name of JAX, run by tests/as_jax_checks.py: what solvers ask of arrays and tracers."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad


def raised(function, *args):
    """The exception that a call raises."""
    try:
        function(*args)
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def check_weak_arrays_are_of_one_class_with_others():
    weak, strong = jnp.array(2.0), jnp.ones(2)
    assert weak.weak_type and not strong.weak_type
    assert type(weak) == type(strong)  # noqa: E721
    assert type(weak) != np.ndarray and type(strong) != object  # noqa: E721
    # Weakness is still told apart where it counts.
    assert (jnp.ones((), "bfloat16") * weak).dtype == jnp.bfloat16
    assert (jnp.ones((), "bfloat16") * jnp.float32(2)).dtype == jnp.float32


def check_weak_values_that_are_differentiated_are_jvp_tracers():
    seen = []

    def f(x, y):
        seen.append([isinstance(x, ad.JVPTracer), isinstance(x + y, ad.JVPTracer), isinstance(2.0, ad.JVPTracer)])
        return x * y

    jax.jvp(f, (1.0, jnp.array(2.0)), (1.0, 1.0))
    jax.jit(f)(1.0, 2.0)
    assert seen == [[True, True, False], [False, False, False]]


def check_errors_of_callbacks_have_the_class_and_trace_back_of_jax():
    class Odd(Exception):
        pass

    def fails(x):
        raise Odd("of the callback")

    def call(x):
        return jax.pure_callback(fails, jax.ShapeDtypeStruct((), "float32"), x)

    for f in (call, jax.jit(call), jax.jit(lambda x: jax.lax.cond(x > 0, call, lambda x: x, x))):
        error = raised(f, jnp.float32(1))
        assert type(error) is jax.errors.JaxRuntimeError and "Odd: of the callback" in str(error)
    effect = jax.jit(lambda x: jax.debug.callback(fails, x))
    assert isinstance(raised(effect, 1.0), jax.errors.JaxRuntimeError)


def check_buffers_have_addresses():
    x = jnp.arange(3.0)
    assert x.unsafe_buffer_pointer() == np.asarray(x).ctypes.data
