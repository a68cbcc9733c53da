"""The version that ``jax.__version__`` tells."""

from fdl.as_jax.names import VERSION

__version__ = VERSION
__version_info__ = tuple(map(int, VERSION.split(".")))
