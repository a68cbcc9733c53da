"""The node tests of the onnx package on `fdl.interop.from_onnx`: how many pass, and why others do not.

    python -m benchmarks.onnx_nodes [--only Conv] [--part 0/2]

It needs `pip install onnx`. Cases whose inputs or results are strings, sequences or optional values, and those of
random numbers, are counted apart. The last result is in [onnx_nodes.md](onnx_nodes.md).
"""

import argparse
import re
import warnings
from collections import Counter
from typing import Any

import numpy as np

from fdl.errors import FdlError, OperatorError
from fdl.interop import from_onnx
from fdl.interop.onnx_graph import DTYPES, NARROW, is_narrow

KNOWN = DTYPES | NARROW

#: Why a case is counted apart, by what is found in the names of its operators.
OUTSIDE = {
    "strings": r"String|Regex|TfIdf|ImageDecoder",
    "sequences and optional values": r"Sequence(?!$)|^SplitTo|^ConcatFrom|Optional",
    "random numbers": r"Random|Bernoulli",
}


def apart(model: Any) -> str:
    """Why a case is not about arrays of numbers that the inputs determine; "" if it is."""
    names = [node.op_type for node in model.graph.node if node.op_type != "ReverseSequence"]
    for reason, pattern in OUTSIDE.items():
        if any(re.search(pattern, name) for name in names):
            return reason
    types = [value.type for value in [*model.graph.input, *model.graph.output]]
    if not all(kind.HasField("tensor_type") for kind in types):
        return "sequences and optional values"
    return "" if all(kind.tensor_type.elem_type in KNOWN for kind in types) else "strings"


def array(value: Any) -> np.ndarray:
    """An operand of a case, which may be a tensor of a file."""
    import onnx

    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def outcome(case: Any) -> str:
    """ "passed", or why not."""
    try:
        apply, params = from_onnx(case.model)
        for inputs, outputs in case.data_sets:
            found = apply(params, *map(array, inputs))
            found = found if isinstance(found, tuple) else (found,)
            for got, want in zip(found, map(array, outputs), strict=True):
                got = np.asarray(got)
                if got.shape != want.shape:
                    return f"shape {got.shape} for {want.shape}"
                if got.dtype != want.dtype:
                    return f"dtype {got.dtype} for {want.dtype}"
                # Results of 16 bits may differ in their last two bits: sums are of other orders, or of 32 bits.
                unit = {"float16": 2**-10, "bfloat16": 2**-7}.get(want.dtype.name, 0.0)
                wide = (np.float64 if a.dtype.kind not in "biuc" or is_narrow(a) else a.dtype for a in (got, want))
                got, want = (a.astype(d) for a, d in zip((got, want), wide, strict=True))
                if not np.allclose(
                    got, want, rtol=max(case.rtol, 1e-5, 2 * unit), atol=max(case.atol, 1e-6), equal_nan=True
                ):
                    return "other numbers"
    except OperatorError as error:
        return "unknown operator " + ", ".join(re.findall(r"[:,] ([\w.]+) \(", str(error)))
    except (FdlError, TypeError, ValueError, IndexError, AttributeError, KeyError) as error:
        return f"{type(error).__name__}: {str(error)[:100]}"
    return "passed"


def main() -> None:
    """Print a count by reason."""
    from onnx.backend.test.case.node import collect_testcases

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="run cases whose name has this text")
    parser.add_argument("--part", default="0/1", help="run each nth case from the kth on, as k/n")
    arguments = parser.parse_args()
    first, parts = map(int, arguments.part.split("/"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = [case for case in collect_testcases(None) if arguments.only in case.name][first::parts]
        kinds = [apart(case.model) for case in cases]
        chosen = [case for case, kind in zip(cases, kinds, strict=True) if not kind]
        reasons = Counter[str]()
        for case in chosen:
            reason = outcome(case)
            reasons[reason] += 1
            if reason != "passed":
                print(f"{case.name}: {reason}", flush=True)
    print(f"{len(cases)} cases, {len(chosen)} of arrays of numbers, {reasons['passed']} passed")
    for kind, count in Counter(filter(None, kinds)).most_common():
        print(f"{count:5d} apart: {kind}")
    for reason, count in reasons.most_common():
        print(f"{count:5d} {reason}")


if __name__ == "__main__":
    main()
