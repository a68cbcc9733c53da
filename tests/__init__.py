"""Tests of fdl and fdl_spark; shared helpers are imported from here by name."""

import sys


def python_calls(function):
    """How many Python functions run in a call."""
    count = 0

    def seen(frame, event, argument):
        nonlocal count
        count += event == "call"

    sys.setprofile(seen)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count
