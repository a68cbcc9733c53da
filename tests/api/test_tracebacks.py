"""Tracebacks: the user's frames alone, and the line that called the failing operation last."""

import subprocess
import sys
import threading
import traceback
from dataclasses import dataclass
from importlib.metadata import entry_points

import pytest

import fdl
import fdl.numpy as fnp
from fdl import errors, lax, nn, tracebacks

X, W = fnp.ones((3, 4)), fnp.ones((5, 4))

FAILING = "x @ w"


def model(w, x):
    return fnp.sum(fnp.tanh(x @ w))


def frames(error):
    return traceback.extract_tb(error.__traceback__)


def squared(w):
    return fnp.sum(w)


failing_forward, failing_backward = fdl.custom_vjp(squared), fdl.custom_vjp(squared)
failing_forward.defvjp(lambda w: (model(w, X), w), lambda w, g: (g * w,))
failing_backward.defvjp(lambda w: (fnp.sum(w), w), lambda w, g: (model(w, X),))


@pytest.mark.parametrize(
    "call",
    [
        lambda: model(W, X),
        lambda: fdl.jit(model)(W, X),
        lambda: fdl.jit(fdl.grad(model))(W, X),
        lambda: fdl.jit(model).lower(W, X),
        lambda: fdl.vmap(model, (None, 0))(W, X),
        lambda: fdl.jvp(model, (W, X), (W, X)),
        lambda: fdl.vjp(model, W, X),
        lambda: fdl.hessian(model)(W, X),
        lambda: fdl.make_program(model)(W, X),
        lambda: fdl.checkpoint(model)(W, X),
        lambda: lax.scan(lambda c, x: (c, model(W, x)), 0.0, X),
        lambda: fdl.jit(lambda x: lax.scan(lambda c, x: (c, model(W, x)), 0.0, x))(X),
        lambda: lax.fori_loop(0, 3, lambda i, c: model(W, X), 0.0),
        lambda: lax.while_loop(lambda c: c < 1, lambda c: model(W, X), 0.0),
        lambda: lax.cond(True, model, model, W, X),
        lambda: fdl.grad(failing_forward)(W),
        lambda: fdl.jit(fdl.grad(failing_backward))(W),
        lambda: fnp.vectorize(model, signature="(a,b),(c,d)->()")(W, X),
    ],
)
def test_only_frames_of_the_user(call):
    with pytest.raises(errors.ShapeError) as caught:
        call()
    found = frames(caught.value)
    assert {frame.filename for frame in found} == {__file__}
    assert found[-1].name == "model" and FAILING in found[-1].line


def test_a_user_s_error_in_a_transformed_function():
    def bad(x):
        raise KeyError("mine")

    with pytest.raises(KeyError) as caught:
        fdl.jit(fdl.vmap(bad))(X)
    assert [f.name for f in frames(caught.value)] == ["test_a_user_s_error_in_a_transformed_function", "bad"]


def test_layers_and_their_helpers_are_fdl_s():
    with pytest.raises(errors.FdlError) as caught:
        nn.conv(X, W)
    assert [f.name for f in frames(caught.value)] == ["test_layers_and_their_helpers_are_fdl_s"]


def test_causes_are_tidied():
    def outer(w, x):
        try:
            return model(w, x)
        except errors.ShapeError as error:
            raise RuntimeError("outer") from error

    with pytest.raises(RuntimeError) as caught:
        fdl.jit(outer)(W, X)
    assert {frame.filename for frame in frames(caught.value.__cause__)} == {__file__}


def test_the_setting_shows_all(monkeypatch):
    monkeypatch.setattr(fdl.config, "traceback", "full")
    with pytest.raises(errors.ShapeError) as caught:
        fdl.jit(model)(W, X)
    assert "linear.py" in "".join(traceback.format_exception(caught.value))


def test_faults_of_fdl_keep_their_frames():
    names = {}
    exec(compile("def fault(): assert False", fdl.__file__, "exec"), names)
    with pytest.raises(AssertionError) as caught:
        fdl.jit(lambda x: names["fault"]())(X)
    assert frames(caught.value)[-1].filename == fdl.__file__


SCRIPT = """
import fdl, fdl.numpy as fnp

def model(w, x):
    return fnp.sum(fnp.tanh(x @ w))

{call}
"""


@pytest.mark.parametrize(
    "call",
    ["model(fnp.ones((5, 4)), fnp.ones((3, 4)))", "fdl.jit(fdl.grad(model))(fnp.ones((5, 4)), fnp.ones((3, 4)))"],
)
def test_what_a_program_prints(tmp_path, call):
    path = tmp_path / "program.py"
    path.write_text(SCRIPT.format(call=call))
    lines = subprocess.run([sys.executable, path], capture_output=True, text=True, check=False).stderr.splitlines()
    assert len(lines) <= 12 and lines[-1].startswith("fdl.errors.ShapeError: matmul: shapes (3, 4) and (5, 4)")
    assert [line.split(", in ")[1] for line in lines if line.startswith("  File")] == ["<module>", "model"]


def test_what_a_thread_prints(capsys, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    tracebacks.install()
    thread = threading.Thread(target=model, args=(W, X))
    thread.start()
    thread.join()
    text = capsys.readouterr().err
    assert FAILING in text and "linear.py" not in text


def test_hooks_of_others_stay(monkeypatch):
    def mine(*args):
        pass

    monkeypatch.setattr(sys, "excepthook", mine)
    monkeypatch.setattr(threading, "excepthook", mine)
    tracebacks.install()
    assert sys.excepthook is mine and threading.excepthook is mine


def test_in_a_notebook(monkeypatch):
    class Shell:
        custom_exceptions = ()

        def set_custom_exc(self, kinds, handler):
            self.custom_exceptions, self.handler = kinds, handler

        def showtraceback(self, found, tb_offset):
            self.shown = traceback.extract_tb(found[2])

    shell = Shell()
    module = type("module", (), {"get_ipython": staticmethod(lambda: shell)})
    monkeypatch.setitem(sys.modules, "IPython", module)
    tracebacks.install()
    try:
        model(W, X)
    except shell.custom_exceptions:
        kind, error, found = sys.exc_info()
        shell.handler(shell, kind, error, found, tb_offset=1)
    assert [frame.name for frame in shell.shown] == ["test_in_a_notebook", "model"]


def test_failures_in_pytest(tmp_path):
    (tmp_path / "test_user.py").write_text(
        SCRIPT.format(call="def test():\n    model(fnp.ones((5, 4)), fnp.ones((3, 4)))")
    )
    installed = any(entry.value == "fdl_pytest" for entry in entry_points(group="pytest11"))
    plugin = [] if installed else ["-p", "fdl_pytest"]  # which cannot be registered twice
    command = [sys.executable, "-m", "pytest", "-q", *plugin, "-p", "no:cacheprovider", "test_user.py"]
    text = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path).stdout
    assert "x @ w" in text and "linear.py" not in text


def test_lines_of_cells_of_notebooks(monkeypatch):
    class Compiler:
        def format_code_name(self, name):
            return ("Cell", "In[13]") if name == "/tmp/kernel/1234.py" else None

    shell = type("Shell", (), {"compile": Compiler()})()
    module = type("module", (), {"get_ipython": staticmethod(lambda: shell)})
    monkeypatch.setitem(sys.modules, "IPython", module)
    found = {}
    exec(compile("def f(x):\n    return x * x", "/tmp/kernel/1234.py", "exec"), found)
    assert "# In [13]:2 (f)" in str(fdl.make_program(found["f"])(1.0))
    assert "# test_tracebacks.py:" in str(fdl.make_program(lambda x: x * x)(1.0))


@dataclass(frozen=True)
class Frozen(Exception):
    value: int


def test_errors_that_refuse_assignments_are_not_replaced():
    with pytest.raises(Frozen) as caught:
        raise Frozen(3)
    tracebacks.hide(caught.value)
    assert caught.value.value == 3
