"""The node tests of the onnx package on `fdl.interop.from_onnx`: how many pass, and why others do not.

    python -m benchmarks.onnx_nodes [--only Conv] [--part 0/2]

It needs `pip install onnx`. Cases whose inputs or results are strings, sequences, optional values, or of dtypes that
fdl does not have, and those of random numbers, are counted apart.
"""

import argparse
import re
import warnings
from collections import Counter
from typing import Any

import numpy as np

from fdl.errors import FdlError, OperatorError
from fdl.interop import from_onnx
from fdl.interop.onnx_graph import DTYPES

OUTSIDE = re.compile(r"String|Sequence|Optional|Regex|Random|Bernoulli|TfIdf|ImageDecoder|LabelEncoder")


def sensible(model: Any) -> bool:
    """Whether a case is about arrays of dtypes that fdl has."""
    values = [*model.graph.input, *model.graph.output]
    dense = all(v.type.HasField("tensor_type") and v.type.tensor_type.elem_type in DTYPES for v in values)
    casts = [a.i for node in model.graph.node for a in node.attribute if node.op_type == "Cast" and a.name == "to"]
    return dense and all(i in DTYPES for i in casts) and not any(OUTSIDE.search(n.op_type) for n in model.graph.node)


def outcome(case: Any) -> str:
    """ "passed", or why not."""
    try:
        apply, params = from_onnx(case.model)
        for inputs, outputs in case.data_sets:
            found = apply(params, *[np.asarray(x) for x in inputs])
            found = found if isinstance(found, tuple) else (found,)
            for got, want in zip(found, outputs, strict=True):
                got = np.asarray(got)
                if got.shape != want.shape:
                    return f"shape {got.shape} for {want.shape}"
                if got.dtype != want.dtype:
                    return f"dtype {got.dtype} for {want.dtype}"
                wide = (np.float64 if a.dtype.kind not in "biuc" else a.dtype for a in (got, want))
                got, want = (a.astype(d) for a, d in zip((got, want), wide, strict=True))
                if not np.allclose(got, want, rtol=max(case.rtol, 1e-5), atol=max(case.atol, 1e-6), equal_nan=True):
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
        chosen = [case for case in cases if sensible(case.model)]
        reasons = Counter[str]()
        for case in chosen:
            reason = outcome(case)
            reasons[reason] += 1
            if reason != "passed":
                print(f"{case.name}: {reason}", flush=True)
    print(f"{len(cases)} cases, {len(chosen)} of arrays that fdl has, {reasons['passed']} passed")
    for reason, count in reasons.most_common():
        print(f"{count:5d} {reason}")


if __name__ == "__main__":
    main()
