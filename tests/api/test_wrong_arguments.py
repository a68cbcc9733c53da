"""Wrong arguments to every public function: errors are raised on purpose, none escapes from within.

Each required argument in turn becomes something that it should not be: text, None, an object, a list, a number or an
array of another rank or dtype. The call may succeed; if it fails, the error is one of fdl's, or a TypeError or
ValueError that a ``raise`` in fdl makes.
"""

import inspect
import linecache
import os
from typing import Any

import numpy as np
import pytest

import fdl
import fdl.linalg
import fdl.nn
import fdl.numpy as fnp
import fdl.scipy.special
from fdl import lax, random
from fdl.errors import FdlError

HERE = os.path.dirname(fdl.__file__)
X = fnp.ones((2, 3))
WRONG: list[Any] = [
    "text", None, object(), [], {}, fnp.zeros((0, 3)), fnp.zeros((2, 2, 2, 2)), fnp.arange(3), fnp.eye(3), True, -1,
    1.5, 1j, np.nan, 2**70, random.key(0), np.array(["a"]), {"a": X}, [[1], [2, 3]],
]  # fmt: skip
MODULES = {
    "numpy": fnp, "lax": lax, "linalg": fnp.linalg, "lax.linalg": fdl.linalg, "random": random, "fft": fnp.fft,
    "special": fdl.scipy.special,
}  # fmt: skip
#: Functions that take more than operands, axes and sizes, whose structure is still checked by Python alone, and those
#: that read buffers and files.
UNCHECKED = {
    "numpy": {
        "piecewise", "pad", "fromiter", "frombuffer", "from_dlpack", "fromfunction", "fromfile", "save", "savez",
        "load", "printoptions", "set_printoptions", "histogram", "array_repr", "array_str", "apply_along_axis",
        "mask_indices", "insert", "iscomplexobj", "isrealobj", "promote_types", "arange", "diag_indices",
    },
    "random": {"weibull_min"},
    "fft": {"fftfreq"},
    "special": {"multigammaln"},
    "lax": {
        "conv", "conv_general_dilated", "conv_general_dilated_patches", "conv_transpose", "conv_with_general_padding",
        "gather", "index_take", "split", "reduce_precision",
        "expand_dims", "dynamic_update_slice", "conv_general_dilated_local",
    },
}  # fmt: skip


def raised_on_purpose(error: BaseException) -> bool:
    """Whether an error is one of fdl's, one of Python's about the number of arguments, or raised by a line of fdl."""
    if isinstance(error, (FdlError, NotImplementedError)):
        return True
    if not isinstance(error, (TypeError, ValueError)):
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    assert trace is not None
    name, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
    if name == __file__ and "argument" in str(error):
        return True
    # The last line of the traceback is that of the statement, or of a part of it.
    return name.startswith(HERE) and any("raise " in linecache.getline(name, n) for n in range(line - 5, line + 1))


def functions(module: str) -> list[str]:
    names = getattr(MODULES[module], "__all__", None) or [n for n in dir(MODULES[module]) if not n.startswith("_")]
    chosen = [(n, getattr(MODULES[module], n)) for n in names if n not in UNCHECKED.get(module, ())]
    return [n for n, f in chosen if callable(f) and not isinstance(f, type) and "fdl" in getattr(f, "__module__", "")]


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.filterwarnings("ignore")
def test_no_error_escapes_from_within(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fdl.config, "traceback", "full")  # the line of fdl that raised
    escaped, calls = [], 0
    for name in functions(module):
        function = getattr(MODULES[module], name)
        parameters = inspect.signature(function).parameters.values()
        required = [p for p in parameters if p.default is p.empty and p.kind in (0, 1)]
        count = len(required) or 1
        first = [random.key(0)] if module == "random" and required and required[0].name == "key" else [X]
        for wrong in WRONG[:: 3 if module == "random" else 1]:  # whose functions compile kernels for each type
            for place in range(count):
                args = [*first, *[X] * (count - 1)]
                args[place] = wrong
                calls += 1
                try:
                    function(*args)
                except Exception as error:
                    if not raised_on_purpose(error):
                        escaped.append(
                            f"{module}.{name}, argument {place} = {wrong!r:.30}: {type(error).__name__} {error}"
                        )
    assert calls >= 6 * len(functions(module))
    assert not escaped, f"{len(escaped)} of {calls} calls:\n" + "\n".join(escaped[:60])
