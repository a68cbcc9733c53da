"""Inference with 8-bit integers: what a function multiplies by its parameters is rounded, and multiplied exactly.

`quantize` takes a function (params, *inputs) and returns another one, whose matrix products and convolutions by
parameters multiply integers of 8 bits: parameters rounded once, with a scale for each output channel, their inputs
rounded as they come, with one scale, which `calibrate` finds from examples. Everything else is computed as before. The
parameters take a quarter of the memory.

>>> import numpy as np
>>> from fdl import jit, nn, random
>>> params = nn.init_dense(random.key(0), 64, 10)
>>> images = np.random.default_rng(0).normal(size=(100, 64)).astype("float32")
>>> ranges = calibrate(nn.dense, params, [images])
>>> dense8, params8 = quantize(nn.dense, params, images, ranges)
>>> params8["products"]["w"]["weight"].dtype
dtype('int8')
>>> difference = jit(dense8)(params8, images) - nn.dense(params, images)
>>> bool(abs(difference).max() < 0.05)
True

After Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference"
(CVPR 2018), of which these are the symmetric scheme for weights and inputs.
"""

from fdl.quantization.histograms import BINS, histogram, largest
from fdl.quantization.quantize import Quantized, calibrate, observe, quantize

__all__ = ["BINS", "Quantized", "calibrate", "histogram", "largest", "observe", "quantize"]


def __dir__() -> list[str]:
    return __all__
