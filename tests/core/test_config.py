"""The table of settings: what the code reads, the environment sets, and the page shows."""

import re
from pathlib import Path

import pytest

import fdl
from fdl.config import SETTINGS, Config

ROOT = Path(__file__).parent.parent.parent

#: Variables of tests and benchmarks.
OTHERS = {"FDL_TEST_GUARD", "FDL_CHAOS", "FDL_CHAOS_SOCKETS", "FDL_RATE", "FDL_"}


def rows():
    """The table of the page, as it has to be."""
    yield "| `fdl.config` | environment variable | default | meaning |"
    yield "|---|---|---|---|"
    for setting in SETTINGS.values():
        default = {None: "", True: "1", False: "0"}.get(setting.default, setting.default)
        field = f"`{setting.name}`" if setting.field else ""
        yield f"| {field} | `{setting.variable}` | {default} | {setting.text} |"


def test_the_page_shows_the_table():
    assert "\n".join(rows()) in (ROOT / "docs" / "settings.md").read_text()


def test_every_variable_is_in_the_table():
    files = [*(ROOT / "fdl").rglob("*.py"), *(ROOT / "fdl_spark").rglob("*.py"), *(ROOT / "docs").rglob("*.md")]
    named = {name for path in files for name in re.findall(r"\bFDL_[A-Z0-9_]*", path.read_text())}
    assert named - OTHERS <= {setting.variable for setting in SETTINGS.values()}
    assert [path for path in files if 'environ.get("FDL' in path.read_text()] == []


def test_fields_are_those_of_the_table():
    fields = {setting.name for setting in SETTINGS.values() if setting.field}
    assert set(Config.__annotations__) - {"state", "_states", "_followers", "checks"} == fields
    for setting in SETTINGS.values():
        assert setting.variable in repr(fdl.config) and setting.text in repr(fdl.config)
        assert not setting.field or f"{setting.name}: {setting.text}" in Config.__doc__


def test_variables_set_the_settings(monkeypatch):
    for setting in SETTINGS.values():
        monkeypatch.delenv(setting.variable, raising=False)
        assert setting.read() == setting.default
        text = setting.choices[-1] if setting.choices else "x"
        given, expected = ("1", True) if isinstance(setting.default, bool) else (text, text)
        monkeypatch.setenv(setting.variable, given)
        assert setting.read() == expected
        assert not setting.field or getattr(Config(), setting.name) == expected
    monkeypatch.setenv("FDL_DISABLE_JIT", "yes")
    with pytest.raises(ValueError, match="FDL_DISABLE_JIT is 1 .on. or 0 .off., got 'yes'"):
        Config()


def test_unknown_settings_are_refused():
    with pytest.raises(AttributeError, match="no setting 'debug_nan'; it has default_float"):
        fdl.config.debug_nan = True
    with pytest.raises(AttributeError, match="no setting 'x'"):
        fdl.config.update("jax_x", True)
    with pytest.raises(AttributeError, match="set the environment variable FDL_CPU"):
        fdl.config.cpu = "x86-64"


def test_programs_see_only_what_they_depend_on():
    settings = Config()
    before = settings.state
    settings.dump = "folder"
    assert settings.state == before
    settings.default_float = "float64"
    assert settings.state != before
    settings.default_float = "float32"
    assert settings.state == before


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("numpy_rank_promotion", "rise", "numpy_rank_promotion is one of allow, warn, raise, got 'rise'"),
        ("numpy_dtype_promotion", True, "numpy_dtype_promotion is one of standard, strict, got True"),
        ("default_float", "int32", "default_float is one of bfloat16, float16, float32, float64, got 'int32'"),
        ("default_int", "uint8", "default_int is one of int8, int16, int32, int64, got 'uint8'"),
        ("debug_nans", "yes", "debug_nans is True or False, got 'yes'"),
    ],
)
def test_values_that_a_setting_cannot_have_are_refused(name, value, message):
    before = getattr(fdl.config, name)
    with pytest.raises(ValueError, match=message):
        setattr(fdl.config, name, value)
    assert getattr(fdl.config, name) == before


def test_jitted_functions_follow_the_settings_of_promotion():
    f = fdl.jit(lambda x, y: x + y)
    operands = fdl.numpy.ones((2, 2)), fdl.numpy.ones(2)
    for _ in range(3):
        f(*operands)
    fdl.config.numpy_rank_promotion = "raise"
    try:
        with pytest.raises(fdl.errors.ShapeError, match="different ranks"):
            f(*operands)
        fdl.config.numpy_rank_promotion = "warn"
        with pytest.warns(UserWarning, match="different ranks"):
            f(*operands)
    finally:
        fdl.config.numpy_rank_promotion = "allow"
