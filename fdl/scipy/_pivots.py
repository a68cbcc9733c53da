"""The order in which LAPACK takes the columns of matrices when it factors them."""

import numpy as np

from fdl import lax
from fdl.api.inspect import ShapeDtypeStruct
from fdl.core.types import Array
from fdl.lax.callbacks import pure_callback


def pivoted_columns(a: Array) -> Array:
    """For matrices [..., m, n] the order int32[..., n] of columns in which the diagonal of r does not grow.

    Columns of a matrix that is not finite stay in their order.
    """
    order = ShapeDtypeStruct((*a.shape[:-2], a.shape[-1]), "int32")
    found: Array = pure_callback(_columns, order, lax.stop_gradient(a), vmap_method="broadcast_all")
    return found


def _columns(a: np.ndarray) -> np.ndarray:
    import scipy.linalg

    order = np.empty((*a.shape[:-2], a.shape[-1]), np.int32)
    for place in np.ndindex(a.shape[:-2]):
        finite = np.isfinite(a[place]).all()
        order[place] = scipy.linalg.qr(a[place], mode="r", pivoting=True)[1] if finite else np.arange(a.shape[-1])
    return order
