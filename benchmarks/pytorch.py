"""The same numbers and arithmetic in PyTorch's layouts: images NCHW, filters OIHW, dense weights (out, in)."""

from collections.abc import Collection
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks import arrays


def leaves(torch: ModuleType, params: Any, channels_last: bool = False, tables: Collection[str] = ()) -> dict[str, Any]:
    """Parameters by path, which require gradients; matrices named in `tables` are not transposed."""
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    found = {}
    for name, array in arrays.flat(params).items():
        if array.ndim == 4:
            tensor = torch.tensor(array.transpose(3, 2, 0, 1).copy()).contiguous(memory_format=memory_format)
        else:
            tensor = torch.tensor(array.T.copy() if array.ndim == 2 and name not in tables else array)
        found[name] = tensor.requires_grad_()
    return found


def images(torch: ModuleType, batch: np.ndarray, channels_last: bool) -> Any:
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    return torch.tensor(batch.transpose(0, 3, 1, 2).copy()).contiguous(memory_format=memory_format)


def indices(torch: ModuleType, values: np.ndarray) -> Any:
    return torch.tensor(values, dtype=torch.int64)


def classification(torch: ModuleType, params: Any, batch: tuple, channels_last: bool) -> tuple[dict, tuple]:
    """Parameters and a batch of images with labels."""
    inputs, labels = batch
    return leaves(torch, params, channels_last), (images(torch, inputs, channels_last), indices(torch, labels))


def batch_norm(torch: ModuleType, x: Any, params: dict[str, Any], name: str) -> Any:
    """In training mode, without running averages."""
    return torch.nn.functional.batch_norm(x, None, None, params[f"{name}.scale"], params[f"{name}.shift"], True)


def sgd(torch: ModuleType, leaves: list, rate: float) -> Any:
    return torch.optim.SGD(leaves, lr=rate, momentum=0.9, fused=True)


def adam(torch: ModuleType, leaves: list, rate: float) -> Any:
    return torch.optim.Adam(leaves, lr=rate, fused=True)


class Clipped:
    """An optimizer that first scales gradients down to a global norm."""

    def __init__(self, torch: ModuleType, leaves: list, limit: float, optimizer: Any) -> None:
        self.torch, self.leaves, self.limit, self.optimizer = torch, leaves, limit, optimizer
        self.zero_grad = optimizer.zero_grad

    def step(self) -> None:
        self.torch.nn.utils.clip_grad_norm_(self.leaves, self.limit)
        self.optimizer.step()
