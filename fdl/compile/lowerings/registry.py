"""Which lowering answers for which class of operations; it imports nothing, so that the disk cache may ask it too."""

from typing import Any

#: The `Lowering` of each class of operations that has one.
registry: dict[type, Any] = {}
