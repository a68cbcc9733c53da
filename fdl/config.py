"""Settings that hold for the whole process, each readable from an environment variable ``FDL_<NAME>``."""

import os
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass
class Config:
    """The settings; assign to a field, or call :meth:`update`.

    Attributes:
        default_float: dtype name of floats made without a dtype.
        default_int: dtype name of integers made without a dtype.
        enable_x64: False turns inputs, and dtypes asked for, of 64 bits into those of 32, as JAX does by itself.
        sort_keys: the dicts that transforms and `fdl.tree` return have sorted keys, as JAX's have.
        numpy_rank_promotion: "allow", or "raise" where operands of different ranks broadcast.
        numpy_dtype_promotion: "standard", or "strict": arrays of different dtypes do not meet.
        disable_jit: run jitted functions operation by operation.
        debug_nans: raise as soon as an eager operation makes a NaN.
        explain_cache_misses: log, as a warning of the logger ``fdl``, why a jitted function is traced again.
        debug_compiler: run verifiers after every pass of the compiler, and raise a CompilerError if a pass fails
            instead of compiling without it.
        dump: folder into which the listings of all stages of every compiled program are written; empty for none.
    """

    default_float: str = field(default_factory=lambda: os.environ.get("FDL_DEFAULT_FLOAT", "float32"))
    default_int: str = field(default_factory=lambda: os.environ.get("FDL_DEFAULT_INT", "int32"))
    enable_x64: bool = field(default_factory=lambda: os.environ.get("FDL_ENABLE_X64", "1") == "1")
    sort_keys: bool = field(default_factory=lambda: os.environ.get("FDL_SORT_KEYS", "0") == "1")
    numpy_rank_promotion: str = field(default_factory=lambda: os.environ.get("FDL_NUMPY_RANK_PROMOTION", "allow"))
    numpy_dtype_promotion: str = field(default_factory=lambda: os.environ.get("FDL_NUMPY_DTYPE_PROMOTION", "standard"))
    disable_jit: bool = field(default_factory=lambda: os.environ.get("FDL_DISABLE_JIT", "0") == "1")
    debug_nans: bool = field(default_factory=lambda: os.environ.get("FDL_DEBUG_NANS", "0") == "1")
    explain_cache_misses: bool = field(default_factory=lambda: os.environ.get("FDL_EXPLAIN_CACHE_MISSES", "0") == "1")
    debug_compiler: bool = field(default_factory=lambda: os.environ.get("FDL_DEBUG_COMPILER", "0") == "1")
    dump: str = field(default_factory=lambda: os.environ.get("FDL_DUMP", ""))

    #: The settings that the result of a jitted function depends on, as a key of caches.
    state: ClassVar[tuple[Any, ...]]

    def update(self, name: str, value: Any) -> None:
        """Set the field `name`; a ``jax_`` prefix is ignored.

        Raises:
            AttributeError: there is no such setting.
        """
        name = name.removeprefix("jax_").removeprefix("fdl_")
        if name not in self.__dataclass_fields__:
            raise AttributeError(f"fdl.config has no setting {name!r}; it has {', '.join(self.__dataclass_fields__)}")
        setattr(self, name, value)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        self.__dict__["state"] = tuple(getattr(self, n, None) for n in _STATE)


#: The settings that decide what a jitted function is compiled to.
_STATE = ("default_float", "default_int", "enable_x64", "disable_jit")


config = Config()
