"""Models as pure functions, one file each: images, speech, recommendation, text, series.

``python -m fdl.models`` lists them, ``python -m fdl.models NAME --summary`` prints the layers of one.

Each module has, whatever the model is:

* ``Config``: a frozen dataclass of hyperparameters, whose defaults are the paper's.
* ``VARIANTS``: the configurations that have names, such as "resnet50", by name.
* ``inputs(config, batch=1)``: the shapes and dtypes of what ``apply`` takes.
* ``init(key, config)``: the parameters, nested dicts and lists of float32 arrays.
* ``apply(params, *inputs, config=...)``: the outputs, logits for classes. Channels are the last axis.
* ``loss(params, batch, config=...)``: the mean over a batch, which is a dict of arrays.

A model with batch normalization has running statistics beside its parameters, as ``fdl_spark.train(state=...)`` takes
them: ``init`` returns ``(params, state)``, ``apply(params, state, *inputs, training=False, ...)`` returns ``(outputs,
state)``, and ``loss(params, state, batch, training=True, ...)`` returns ``(mean, dict of means, state)``. A model with
dropout takes a random ``key``: by keyword in ``apply``, where None means no dropout, and after the batch in ``loss``.

>>> import fdl
>>> import fdl.numpy as fnp
>>> from fdl import models, optim, random
>>> from fdl.models import lenet
>>> params = lenet.init(random.key(0))
>>> batch = {"images": random.uniform(random.key(1), (8, 28, 28, 1)), "labels": fnp.arange(8)}
>>> optimizer = optim.adam(1e-3)
>>> state = optimizer.init(params)
>>> @fdl.jit
... def step(params, state, batch):
...     value, gradients = fdl.value_and_grad(lenet.loss)(params, batch)
...     updates, state = optimizer.update(gradients, state, params)
...     return optim.apply_updates(params, updates), state, value
>>> before = lenet.loss(params, batch)
>>> for _ in range(10):
...     params, state, value = step(params, state, batch)
>>> bool(value < before)
True

Other configurations are written as such, and given to every function:

>>> config = lenet.Config(size=32, channels=3, classes=100)
>>> params = lenet.init(random.key(0), config)
>>> lenet.apply(params, fnp.zeros((1, 32, 32, 3)), config=config).shape
(1, 100)

On Spark, ``fdl_spark.train(lenet.loss, params, ...)`` trains with the default configuration, and
``functools.partial(lenet.loss, config=config)`` with another.
"""

from fdl.models import (
    anomaly_lstm,
    autoencoder,
    bert,
    conv_lstm,
    deepbit,
    deepfm,
    ds_cnn,
    gpt2,
    inception,
    lenet,
    matrix_factorization,
    mobilenet_v2,
    nbeats,
    neumf,
    recurrent_lm,
    resnet,
    sasrec,
    seq2seq,
    ssd,
    tcn,
    textcnn,
    transformer,
    unet,
    vae,
    vgg,
    vit,
    wide_deep,
)
from fdl.models.layers import Layer, LayerTable, layer_table
from fdl.models.state_dicts import from_state_dict, to_torch_state_dict
from fdl.models.table import Model, find, names, summary

__all__ = [
    "Layer",
    "LayerTable",
    "Model",
    "anomaly_lstm",
    "autoencoder",
    "bert",
    "conv_lstm",
    "deepbit",
    "deepfm",
    "ds_cnn",
    "find",
    "from_state_dict",
    "gpt2",
    "inception",
    "layer_table",
    "lenet",
    "matrix_factorization",
    "mobilenet_v2",
    "names",
    "nbeats",
    "neumf",
    "recurrent_lm",
    "resnet",
    "sasrec",
    "seq2seq",
    "ssd",
    "summary",
    "tcn",
    "textcnn",
    "to_torch_state_dict",
    "transformer",
    "unet",
    "vae",
    "vgg",
    "vit",
    "wide_deep",
]


def __dir__() -> list[str]:
    return __all__
