"""Programs compiled with another tuning."""

from dataclasses import replace
from typing import Any

import pytest

from fdl.compile.llvm import target


def tune(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Compile with other sizes and thresholds, in this test."""
    monkeypatch.setattr(target, "TUNING", replace(target.TUNING, **changes))
