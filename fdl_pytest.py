"""A plugin of pytest, found by its entry point: failures in programs that use fdl show the user's frames only."""

import sys
from typing import Any

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: Any, call: Any) -> None:
    """Take the frames of fdl out of what is reported, unless `fdl.config.traceback` is "full"."""
    tracebacks = sys.modules.get("fdl.tracebacks")
    if tracebacks is not None and call.excinfo is not None:
        tracebacks.hide(call.excinfo.value)
        call.excinfo = pytest.ExceptionInfo.from_exception(call.excinfo.value)
