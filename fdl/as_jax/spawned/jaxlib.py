"""What ``import jaxlib`` finds in processes that a process on fdl starts; see jax.py beside it."""

import importlib
import sys

from fdl.as_jax.finder import install

if __name__ == "jaxlib":  # and not where a tool imports all files
    del sys.modules[__name__]
    install()
    sys.modules[__name__] = importlib.import_module(__name__)
