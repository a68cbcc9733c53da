"""JAX's names for fdl: programs and libraries that import ``jax`` run on fdl, without being changed::

import fdl

fdl.install_as_jax()
import jax, jax.numpy as jnp

jax.grad(lambda x: jnp.sum(x**2))(jnp.arange(3.0))
"""

from fdl.as_jax.finder import install

__all__ = ["install"]
