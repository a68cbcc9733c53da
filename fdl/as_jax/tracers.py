"""Classes of tracers that libraries ask for by ``isinstance``."""

from typing import Any

from fdl.core.weak import WeakTracer
from fdl.transforms.forward import DualTracer


class _HoldsType(type):
    """Looks at what a weak value holds: weakness is no transform."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance._held if type(instance) is WeakTracer else instance, DualTracer)


class JVPTracer(metaclass=_HoldsType):
    """A value with its tangent, weak or not.

    >>> isinstance(1.0, JVPTracer)
    False
    """
