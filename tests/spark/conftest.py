import logging
import runpy
from pathlib import Path

import pytest

HERE = runpy.run_path(str(Path(__file__).with_name("problem.py")))


@pytest.fixture(scope="session")
def spark():
    import fdl_spark

    session = fdl_spark.session("local[2]", config={"spark.ui.enabled": "false"})
    logging.getLogger("py4j").setLevel(logging.ERROR)
    yield session
    session.stop()


@pytest.fixture(scope="session")
def problem():
    return HERE["make_problem"]()


@pytest.fixture(scope="session")
def digest():
    return HERE["digest"]
