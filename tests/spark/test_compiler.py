"""The compiler in Spark's workers: what the tests set holds there, and compiled functions arrive with their code."""

from typing import Any

import numpy as np

import fdl
from fdl.compile import compile_program


def test_a_failing_pass_is_an_error_in_a_worker_too(spark: Any) -> None:
    def fails(_: Any) -> list[str]:
        import fdl
        from fdl.compile.passes import order as passes

        kept = list(passes.PASSES)
        passes.PASSES[:] = [("sink_slices", None)]
        try:
            fdl.jit(lambda x: x + 0.375)(1.0)
        except fdl.errors.CompilerError as error:
            return [str(error)]
        finally:
            passes.PASSES[:] = kept
        return ["no error"]

    (text,) = spark.sparkContext.parallelize(range(1), 1).mapPartitions(fails).collect()
    assert "fdl's compiler failed in its pass 'sink_slices', on code of test_compiler.py" in text


def test_compiled_programs_run_in_a_worker(spark: Any) -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    compiled = compile_program(fdl.make_program(lambda x: fdl.numpy.cumsum(x, 1) * 2.375)(x))
    found = spark.sparkContext.parallelize([x], 1).map(lambda x: compiled.run([x])[0]).collect()[0]
    np.testing.assert_array_equal(found, np.cumsum(x, 1) * np.float32(2.375))
