"""Models of other libraries as pure functions of fdl, and back.

`from_torch` takes a PyTorch module. What it returns needs no PyTorch, which is not required by fdl:
``pip install 'fdl[interop]'``.
"""

from fdl.interop.names import to_torch_state_dict
from fdl.interop.torch_model import from_torch

__all__ = ["from_torch", "to_torch_state_dict"]


def __dir__() -> list[str]:
    return __all__
