"""The settings: one table, which the code reads and `docs/settings.md` shows."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class Setting:
    """One setting.

    Attributes:
        variable: the name of the environment variable.
        default: holds where the variable is not set; its type is that of the setting.
        text: what it does.
        field: whether `config` has it, so that a program may change it; else the environment alone decides.
        traced: whether what a jitted function runs depends on it.
        choices: the values that it may have, where it is a text of a few.
    """

    variable: str
    default: Any
    text: str
    field: bool = True
    traced: bool = False
    choices: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of the setting."""
        return self.variable.removeprefix("FDL_").lower()

    def read(self) -> Any:
        """The value that the environment gives now, or the default.

        Raises:
            ValueError: the variable is neither 0 nor 1 where the setting is on or off.
        """
        text = os.environ.get(self.variable)
        if text is None:
            return self.default
        if not isinstance(self.default, bool):
            return self.checked(text)
        if text not in ("0", "1", ""):
            raise ValueError(f"the environment variable {self.variable} is 1 (on) or 0 (off), got {text!r}")
        return text == "1"

    def checked(self, value: Any) -> Any:
        """`value`, if the setting may have it.

        Raises:
            ValueError: it may not.
        """
        if isinstance(self.default, bool):
            if value in (True, False):
                return bool(value)
            raise ValueError(f"fdl.config.{self.name} is True or False, got {value!r}")
        if self.choices:
            name = value if isinstance(value, str) else getattr(value, "__name__", str(value))
            if name not in self.choices:
                raise ValueError(f"fdl.config.{self.name} is one of {', '.join(self.choices)}, got {value!r}")
            return name
        return value


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(
            "FDL_DEFAULT_FLOAT",
            "float32",
            "The dtype of floats made without a dtype.",
            traced=True,
            choices=("bfloat16", "float16", "float32", "float64"),
        ),
        Setting(
            "FDL_DEFAULT_INT",
            "int32",
            "The dtype of integers made without a dtype.",
            traced=True,
            choices=("int8", "int16", "int32", "int64"),
        ),
        Setting(
            "FDL_ENABLE_X64",
            True,
            "0 turns inputs, and dtypes asked for, of 64 bits into those of 32, as JAX does by itself.",
            traced=True,
        ),
        Setting(
            "FDL_WEAK_ARRAYS",
            False,
            "Arrays made of Python numbers alone are weak, as in JAX: their dtype yields to that of other arrays.",
            traced=True,
        ),
        Setting(
            "FDL_SORT_KEYS", False, "The dicts that transforms and `fdl.tree` return have sorted keys, as JAX's have."
        ),
        Setting(
            "FDL_CHECK_INDICES",
            True,
            "0 takes known indices that are out of bounds as traced ones, as JAX does: `x[i]` and `put` clip them, "
            "`take` and `take_along_axis` fill, other functions that write drop. They are an error by default.",
            traced=True,
        ),
        Setting(
            "FDL_NUMPY_RANK_PROMOTION",
            "allow",
            "`raise` refuses operands of different ranks that would broadcast, `warn` warns of them.",
            traced=True,
            choices=("allow", "warn", "raise"),
        ),
        Setting(
            "FDL_NUMPY_DTYPE_PROMOTION",
            "standard",
            "`strict` refuses operands of different dtypes.",
            traced=True,
            choices=("standard", "strict"),
        ),
        Setting(
            "FDL_DEFAULT_MATMUL_PRECISION",
            "default",
            "What convolutions without a `precision` get: `highest` sums all products directly, `default` lets 3x3 "
            "windows have fewer multiplications. Products of matrices are summed directly anyway.",
            traced=True,
            choices=("default", "highest"),
        ),
        Setting(
            "FDL_THREEFRY_PARTITIONABLE",
            True,
            "0 draws random bits in the layout that JAX had before 0.5: other numbers for the same keys.",
            traced=True,
        ),
        Setting("FDL_DISABLE_JIT", False, "Run jitted functions operation by operation.", traced=True),
        Setting(
            "FDL_DISABLE_MOST_OPTIMIZATIONS",
            False,
            "Have LLVM select instructions and registers without optimization, and multiply matrices by smaller tiles: "
            "programs compile faster and run slower, which is worth it for tests of many small programs.",
            traced=True,
        ),
        Setting(
            "FDL_EFFORT",
            "full",
            "`fast` compiles programs that take less than about 0.1 ms a call as `disable_most_optimizations` does: "
            "their first calls take half of the time. Others are compiled as ever, since less optimization does not "
            "shorten their first calls. `jit(compiler_options={'effort': ...})` says it for one function.",
            traced=True,
            choices=("full", "fast"),
        ),
        Setting(
            "FDL_DEBUG_NANS",
            False,
            "Raise as soon as an operation makes a NaN, or a compiled function returns one, and name the operation.",
            traced=True,
        ),
        Setting("FDL_DEBUG_INFS", False, "The same for infinities.", traced=True),
        Setting(
            "FDL_DEBUG_KEY_REUSE",
            False,
            "Raise where a random key is used a second time, and name both lines.",
            traced=True,
        ),
        Setting("FDL_RUNTIME_CHECKS", True, "0 leaves out what `fdl.debug.check` and `error_if` check.", traced=True),
        Setting(
            "FDL_TRACEBACK",
            "short",
            "What tracebacks show: `short` leaves the frames of fdl out, `full` shows all.",
        ),
        Setting(
            "FDL_LOG_COMPILES",
            False,
            "Log, as a warning of the logger `fdl`, which functions are traced and compiled, for which arguments, and "
            "how long each took.",
        ),
        Setting("FDL_EXPLAIN_CACHE_MISSES", False, "Log, as a warning of the logger `fdl`, why a function is traced."),
        Setting(
            "FDL_DEBUG_COMPILER",
            False,
            "Run verifiers after every pass of the compiler, and raise a CompilerError if a pass fails instead of "
            "compiling without it.",
        ),
        Setting("FDL_DUMP", "", "The folder to write the listings of all stages of every compiled program to."),
        Setting(
            "FDL_NUM_THREADS",
            None,
            "How many threads a compiled function may use; without it OMP_NUM_THREADS, then the processors that this "
            "process may use. `fdl.set_num_threads` overrides it.",
            field=False,
        ),
        Setting(
            "FDL_CPU",
            "native",
            "The processor to compile for: native, x86-64, x86-64-v2, x86-64-v3 or x86-64-v4; :128, :256 or :512 "
            "behind it sets the width of vectors.",
            field=False,
        ),
        Setting(
            "FDL_CACHE_DIR",
            None,
            "The folder where machine code is kept; empty for none. Without it, one in the user's cache directory.",
            field=False,
        ),
    )
}


class Config:
    """The settings of this process; assign to one, or call :meth:`update`."""

    default_float: str
    default_int: str
    enable_x64: bool
    weak_arrays: bool
    sort_keys: bool
    check_indices: bool
    numpy_rank_promotion: str
    numpy_dtype_promotion: str
    default_matmul_precision: str
    threefry_partitionable: bool
    disable_jit: bool
    disable_most_optimizations: bool
    effort: str
    debug_nans: bool
    debug_infs: bool
    debug_key_reuse: bool
    runtime_checks: bool
    traceback: str
    log_compiles: bool
    explain_cache_misses: bool
    debug_compiler: bool
    dump: str

    #: A key of caches for the settings that what a jitted function runs depends on.
    state: int
    #: Whether results are looked at.
    checks: bool
    _states: ClassVar[dict[tuple[Any, ...], int]] = {}
    _followers: ClassVar[list[Callable[[], None]]] = []

    def __init__(self) -> None:
        self.__dict__.update({name: setting.read() for name, setting in SETTINGS.items() if setting.field})
        self._changed()

    def update(self, name: str, value: Any) -> None:
        """Set the setting `name`; a ``jax_`` or ``fdl_`` prefix is ignored.

        Raises:
            AttributeError: there is no such setting.
        """
        setattr(self, name.removeprefix("jax_").removeprefix("fdl_"), value)

    def __setattr__(self, name: str, value: Any) -> None:
        setting = SETTINGS.get(name)
        if setting is None:
            names = ", ".join(s.name for s in SETTINGS.values() if s.field)
            raise AttributeError(f"fdl.config has no setting {name!r}; it has {names}")
        if not setting.field:
            raise AttributeError(f"{name} is no field of fdl.config; set the environment variable {setting.variable}")
        self.__dict__[name] = setting.checked(value)
        self._changed()

    def on_change(self, follow: Callable[[], None]) -> None:
        """Call `follow` now, and whenever a setting was changed."""
        self._followers.append(follow)
        follow()

    def _changed(self) -> None:
        # A number is a faster key than the values that it stands for.
        values = tuple(getattr(self, setting.name) for setting in SETTINGS.values() if setting.traced)
        self.__dict__["checks"] = self.debug_nans or self.debug_infs or self.debug_key_reuse
        self.__dict__["state"] = self._states.setdefault(values, len(self._states))
        for follow in self._followers:
            follow()

    def __repr__(self) -> str:
        rows = [(s.name, repr(getattr(self, s.name) if s.field else s.read()), s) for s in SETTINGS.values()]
        first, second = (max(len(row[n]) for row in rows) for n in (0, 1))  # type: ignore[arg-type]
        return "\n".join(f"{name:{first}}  {value:{second}}  {s.variable}: {s.text}" for name, value, s in rows)


Config.__doc__ = f"""{Config.__doc__}

    Printed, it shows all settings with their values and environment variables, also those that only the environment
    decides.

    Attributes:
{chr(10).join(f"        {s.name}: {s.text} By default {s.default!r}." for s in SETTINGS.values() if s.field)}
    """

config = Config()
