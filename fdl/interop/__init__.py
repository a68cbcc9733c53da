"""Models of other libraries as pure functions of fdl, and back.

`from_torch` takes a PyTorch module, `from_onnx` an ONNX file. What they return needs neither library; fdl does not
require them: ``pip install 'fdl[interop]'``.
"""

from fdl.interop.names import to_torch_state_dict
from fdl.interop.onnx_model import from_onnx
from fdl.interop.onnx_writing import to_onnx
from fdl.interop.torch_model import from_torch

__all__ = ["from_onnx", "from_torch", "to_onnx", "to_torch_state_dict"]


def __dir__() -> list[str]:
    return __all__
