"""Tables of classes that libraries read, or enter classes of arrays into: any subclass of ``numpy.ndarray`` is one."""

from collections.abc import Callable
from typing import Any

import numpy as np
import optree

from fdl.array import as_array
from fdl.as_jax.core import typeof
from fdl.tree.registry import NAMESPACE

canonicalize_dtype_handlers: dict[type[Any], Callable[..., Any]] = {np.ndarray: as_array}
pytype_aval_mappings: dict[type[Any], Callable[..., Any]] = {np.ndarray: typeof}


class _Nodes:
    """The classes that are nodes of trees."""

    def __contains__(self, nodetype: type[Any]) -> bool:
        return optree.register_pytree_node.get(nodetype, namespace=NAMESPACE) is not None


_registry = _Nodes()
