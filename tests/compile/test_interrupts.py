"""Ctrl-C in the middle of a compiled loop: it ends, and what is called afterwards is right.

Every loop here runs for hours, so that the test ends only if the loop does.
"""

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys, threading
import numpy as np
import fdl, fdl.numpy as fnp
from fdl import lax

halve = lambda c: c * 0.5 + 1
while_ = lambda x: lax.while_loop(lambda c: c[0] >= 0, halve, x)
upto = lambda x, n: lax.while_loop(lambda c: c[1] < n, lambda c: (halve(c[0]), c[1] + 1), (x, 0))[0]
x, large = fnp.ones(4), fnp.ones(1 << 20)


def interrupted(function, *args):
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        function(*args)
    except KeyboardInterrupt:
        timer.join()
        return True
    return False


few = fdl.jit(lambda x: lax.fori_loop(0, 10, lambda i, c: halve(c), x))
before = np.asarray(few(x))
forever = lambda x: lax.scan(lambda c, _: (halve(c), None), x, length=10**11)[0]
assert interrupted(fdl.jit(forever), x), "scan"
assert interrupted(forever, x), "eager scan"
assert interrupted(fdl.jit(while_), x), "while"
nested = lambda x: lax.scan(lambda c, _: (lax.fori_loop(0, 10**4, lambda j, c: halve(c), c), None), x, length=10**9)[0]
assert interrupted(fdl.jit(nested), x), "nested"
assert interrupted(fdl.jit(fdl.vmap(while_)), fnp.ones((8, 4))), "batched"
same = lambda c: fdl.pure_callback(np.array, c, c)
assert interrupted(fdl.jit(lambda x: lax.while_loop(lambda c: c[0] >= 0, same, x)), x), "callbacks"

# Native calls, donated memory, a team of threads.
fast = fdl.jit(upto, donate_argnums=0)
for _ in range(4):
    fast(x + 1, 5)
given = x + 1
assert interrupted(fast, given, 2**31 - 1), "fast"
assert given.is_deleted()
np.testing.assert_array_equal(fast(x + 1, 5), np.full(4, 2.0))
fdl.set_num_threads(2)
assert interrupted(fdl.jit(while_), large), "threads"
np.testing.assert_array_equal(fdl.jit(upto)(large, 3), np.full(1 << 20, 1.875))

# The handlers of others are the ones that run; one that raises nothing lets the loop go on.
calls = []
def handler(number, frame):
    calls.append(number)
    if len(calls) == 2:
        raise RuntimeError("the second") from KeyError("why")
signal.signal(signal.SIGINT, handler)
for delay in (0.1, 0.3):
    threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    fdl.jit(while_)(x)
except RuntimeError as error:
    assert str(error) == "the second" and len(calls) == 2 and isinstance(error.__cause__, KeyError)
np.testing.assert_array_equal(few(x), before)
print("sound")
"""


#: Signals come all the time, also at the first line of Python functions that compiled code calls. One of the first few
#: raises, and the loop has to end by it.
STEADY = """
import faulthandler, signal, sys, threading
import numpy as np
import fdl, fdl.numpy as fnp
from fdl import lax

class Ended(BaseException):
    pass

armed, done, ended = [], threading.Event(), 0

def handler(number, frame):
    if armed and armed.pop():
        raise Ended

def send():
    while not done.is_set():
        signal.raise_signal(signal.SIGUSR1)

sys.setswitchinterval(1e-4)
signal.signal(signal.SIGUSR1, handler)
same = lambda c: fdl.pure_callback(np.array, c, c)
forever = fdl.jit(lambda x: lax.while_loop(lambda c: c[0] >= 0, same, x))
x = fnp.ones(4)
for _ in range(4):
    forever(-x)
thread = threading.Thread(target=send)
thread.start()
for n in range(200):
    faulthandler.dump_traceback_later(60, exit=True)
    try:
        armed.extend([True, *[False] * (n % 7)])
        forever(x)
    except Ended:
        ended += 1
done.set()
thread.join()
print(ended)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_loops_end_and_the_process_is_sound():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=600, check=False)
    assert done.stdout == "sound\n", done.stderr
    assert done.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_no_signal_is_lost_where_compiled_code_calls_python():
    done = subprocess.run([sys.executable, "-c", STEADY], capture_output=True, text=True, timeout=600, check=False)
    assert (done.stdout, done.stderr) == ("200\n", "")
