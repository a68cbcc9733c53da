"""What an Array API library can be asked about itself."""

from typing import Any

import numpy as np

from fdl import dtypes
from fdl.api.environment import Device
from fdl.api.environment import devices as all_devices
from fdl.dtypes import default_dtype
from fdl.numpy._operands import check_device
from fdl.numpy.scalar_types import isdtype
from fdl.ops.precision import HALVES


class NamespaceInfo:
    """What :func:`__array_namespace_info__` returns.

    >>> NamespaceInfo().default_dtypes()["real floating"]
    dtype('float32')
    """

    def capabilities(self) -> dict[str, Any]:
        """What depends on the library: by name.

        Masks as indices, and shapes that depend on values, work outside of traced functions; inside, ``size=`` of such
        functions makes their shapes known.

        >>> NamespaceInfo().capabilities()["max dimensions"]
        64
        """
        return {"boolean indexing": True, "data-dependent shapes": True, "max dimensions": 64}

    def default_device(self) -> Device:
        """The one device."""
        return all_devices()[0]

    def devices(self) -> list[Device]:
        """All devices: one."""
        return all_devices()

    def default_dtypes(self, *, device: Any = None) -> dict[str, np.dtype]:
        """The dtypes of numbers that meet no array, by kind.

        Args:
            device: None, the one device, or "cpu".
        """
        check_device("default_dtypes", device)
        integer = default_dtype(int)
        real, complex_ = default_dtype(float), default_dtype(complex)
        return {"real floating": real, "complex floating": complex_, "integral": integer, "indexing": integer}

    def dtypes(self, *, device: Any = None, kind: Any = None) -> dict[str, np.dtype]:
        """The dtypes of the standard, by name.

        Args:
            device: None, the one device, or "cpu".
            kind: of the dtypes, as for :func:`isdtype`; None for all.

        >>> list(NamespaceInfo().dtypes(kind="complex floating"))
        ['complex64', 'complex128']
        """
        check_device("dtypes", device)
        standard = [dtype for dtype in dtypes.ALL if dtype not in HALVES]
        return {str(dtype): dtype for dtype in standard if kind is None or isdtype(dtype, kind)}


def __array_namespace_info__() -> NamespaceInfo:
    """What the Array API lets ask of a library: devices, dtypes, capabilities.

    Returns:
        An object with the methods that the standard names.

    >>> __array_namespace_info__().devices()
    [CpuDevice(id=0)]
    """
    return NamespaceInfo()
