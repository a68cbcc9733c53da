"""Mathematical functions on vectors."""

from typing import Any

import numpy as np


def supports(name: str, dtype: Any) -> bool:
    """Whether `call` offers the function for `dtype` (float32, float64; 16-bit floats compute in float32)."""
    raise NotImplementedError
