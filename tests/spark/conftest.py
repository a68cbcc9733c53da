import runpy
from contextlib import nullcontext
from pathlib import Path

import pytest

HERE = runpy.run_path(str(Path(__file__).with_name("problem.py")))


@pytest.fixture(scope="session")
def problem():
    return HERE["make_problem"]()


@pytest.fixture(scope="session")
def train_here():
    """`fdl_spark.train` of dicts of arrays in this process, without Spark; `partitions` are tasks there too."""
    import fdl_spark

    load = runpy.run_path(str(Path(__file__).with_name("in_process.py")))["load"]

    def train(*args, **settings):
        with pytest.MonkeyPatch.context() as patch:
            here = {"load": load, "session_of": lambda data: None, "described": lambda *_: {}}
            for name, value in {**here, "job_group": lambda *_: nullcontext()}.items():
                patch.setattr(f"fdl_spark.training.train.{name}", value)
            return fdl_spark.train(*args, sync="driver", **settings)

    return train


@pytest.fixture(scope="session")
def digest():
    return HERE["digest"]


@pytest.fixture(autouse=True)
def _description():
    """The description of the user's jobs is theirs again after every call."""
    yield
    from pyspark import SparkContext

    context = SparkContext._active_spark_context
    left = context and context.getLocalProperty("spark.job.description")
    if left:
        context.setLocalProperty("spark.job.description", None)
    assert left is None
