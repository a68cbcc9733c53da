"""A plugin of pytest that runs a sample of the tests, the same each time: as many as FDL_SAMPLE says, by a seed."""

import os
import random
from typing import Any


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Keep the sample, in an order of its own."""
    random.Random(0).shuffle(items)
    del items[int(os.environ["FDL_SAMPLE"]) :]
