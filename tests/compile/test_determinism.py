"""What is compiled does not depend on where objects are in memory."""

import subprocess
import sys

PROGRAM = """
import sys
from fdl.core.program import Equation, Var

salt = int(sys.argv[1])
for kind in (Var, Equation):  # these are compared by identity, and sets of them are in the order of their hashes
    kind.__hash__ = lambda self: id(self) * salt % (1 << 61) >> 4

import numpy as np
import fdl
from fdl import lax, nn, numpy as fnp


def recurrent(params, xs):
    def step(state, x):
        h, c = state
        i, f, o, g = fnp.split(x @ params["x"] + h @ params["h"] + params["b"], 4, axis=-1)
        c = nn.sigmoid(f) * c + nn.sigmoid(i) * fnp.tanh(g)
        h = nn.sigmoid(o) * fnp.tanh(c)
        return (h, c), h

    start = (fnp.zeros((5, 16)), fnp.zeros((5, 16)))
    _, hs = lax.scan(step, lax.scan(step, start, xs)[0], xs)
    return fnp.mean(nn.softmax(hs @ params["out"]) ** 2)


def convolved(params, x):
    for w in params["filters"]:
        x = nn.relu(lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")))
        x = (x - fnp.mean(x, (0, 1, 2))) / fnp.sqrt(fnp.var(x, (0, 1, 2)) + 1e-5)
    return fnp.sum(nn.log_softmax(fnp.mean(x, (1, 2)) @ params["out"]))


def weights(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape, np.float32)


cases = [
    (recurrent, {"x": weights(8, 64), "h": weights(16, 64), "b": weights(64), "out": weights(16, 9)}, weights(7, 5, 8)),
    (convolved, {"filters": [weights(3, 3, 4, 8), weights(3, 3, 8, 8)], "out": weights(8, 10)}, weights(2, 9, 9, 4)),
]
for function, params, x in cases:
    print(fdl.jit(fdl.value_and_grad(function)).lower(params, x).as_text("llvm"))
"""


def test_machine_code_does_not_depend_on_addresses(tmp_path):
    texts = set()
    for salt in (1, 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F):
        command = [sys.executable, "-c", PROGRAM, str(salt)]
        texts.add(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    (text,) = texts
    assert text.count("define ") > 10
