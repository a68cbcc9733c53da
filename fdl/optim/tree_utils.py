"""The functions of :mod:`fdl.optim.tree` by their older names: ``tree_add``, ``tree_norm``."""

from fdl.optim import tree

_NAMES = (
    "add add_scale allclose batch_shape bias_correction cast cast_like clip conj div dtype full_like get "
    "get_all_with_path map_params max min mul norm ones_like random_like real scale set size split_key_like sub sum "
    "update_infinity_moment update_moment update_moment_per_elem_norm vdot where zeros_like"
).split()

globals().update({f"tree_{name}": getattr(tree, name) for name in _NAMES})

__all__ = [f"tree_{name}" for name in _NAMES]


def __dir__() -> list[str]:
    return __all__
