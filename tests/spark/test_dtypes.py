"""Parameters of 16 bits, by every engine: NumPy has no bfloat16 of its own, so that names of dtypes must say it."""

import ml_dtypes
import numpy as np
import pytest

import fdl_spark
from fdl import optim
from fdl_spark.data.layout import Layout
from fdl_spark.spark.wire import pack, unpack

DTYPES = [np.float16, ml_dtypes.bfloat16, np.float32, ml_dtypes.float8_e4m3fn, np.complex64, bool]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0,), (1,), (5,), (2, 3), ()])
def test_arrays_arrive_as_they_were(dtype, shape):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    header, found = unpack(pack("header", array))
    assert header == "header" and found.dtype == array.dtype and found.tobytes() == array.tobytes()
    layout = Layout.of([np.ones(3, np.int8), array])
    ones, view = layout.views(layout.pack([np.ones(3, np.int8), array]))
    assert view.dtype == array.dtype and view.shape == shape and view.tobytes() == array.tobytes()
    assert ones.tolist() == [1, 1, 1]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_engines_give_the_same_bits_of_16_bit_parameters(spark, dtype, digest):
    x = np.linspace(-1, 1, 24, dtype=np.float32)

    def loss(params, batch):
        return ((params["w"] * batch["x"] - 3 * batch["x"] + params["b"]) ** 2).mean()

    def train(sync):
        params = {"w": np.zeros(1, dtype), "b": np.ones((), dtype)}
        settings = {"optimizer": optim.adam(0.1), "batch_size": 8, "steps": 3, "shards": 4}
        return fdl_spark.train(loss, params, {"x": x}, sync=sync, **settings).params

    found = {sync: train(sync) for sync in ("driver", "shuffle", "blocks", "resident")}
    assert found["driver"]["w"].dtype == dtype and 0 < float(found["driver"]["w"][0]) < 1
    assert len({digest(params) for params in found.values()}) == 1
