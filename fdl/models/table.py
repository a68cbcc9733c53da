"""The models by name: their modules, and the configurations that have names of their own."""

import inspect
from collections.abc import Sequence
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple

from fdl import random, tree
from fdl.api.inspect import eval_shape
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
from fdl.models.layers import LayerTable, layer_table

#: The modules of all models, by topic.
MODULES: tuple[ModuleType, ...] = (
    # images
    lenet,
    vgg,
    resnet,
    inception,
    mobilenet_v2,
    vit,
    ssd,
    unet,
    deepbit,
    autoencoder,
    conv_lstm,
    # speech
    ds_cnn,
    # recommendation
    matrix_factorization,
    neumf,
    wide_deep,
    deepfm,
    sasrec,
    # text
    textcnn,
    recurrent_lm,
    seq2seq,
    transformer,
    gpt2,
    bert,
    # series
    tcn,
    nbeats,
    anomaly_lstm,
    # generative
    vae,
)


class Model(NamedTuple):
    """A model with its configuration.

    Attributes:
        name: such as "resnet50".
        module: which has `init`, `apply`, `loss` and `inputs`.
        config: what these take.
    """

    name: str
    module: ModuleType
    config: Any

    @property
    def has_state(self) -> bool:
        """Whether `init` returns a state beside the parameters: running statistics."""
        return "state" in inspect.signature(self.module.apply).parameters


def names() -> list[str]:
    """The names of all models.

    >>> "lenet" in names()
    True
    """
    return [name for module in MODULES for name in module.VARIANTS]


def find(name: str) -> Model:
    """The model of a name.

    Args:
        name: one of :func:`names`.

    Returns:
        A named tuple: `name`, `module`, `config`.

    Raises:
        ValueError: there is no such name.

    >>> find("lenet").config
    Config(size=28, channels=1, classes=10)
    """
    for module in MODULES:
        if name in module.VARIANTS:
            return Model(name, module, module.VARIANTS[name])
    raise ValueError(f"there is no model {name!r}; there are: {', '.join(names())}")


def abstract_params(model: Model) -> tuple[Any, Any]:
    """The shapes of a model's parameters, and of its state (None if it has none); nothing is computed.

    >>> abstract_params(find("lenet"))[0]["dense3"]["b"]
    ShapeDtypeStruct(shape=(10,), dtype=float32)
    """
    made = eval_shape(partial(model.module.init, config=model.config), random.key(0))
    return made if model.has_state else (made, None)


def summary(name: str, batch: int = 1) -> LayerTable:
    """The layers of a model: what they return, their parameters, and the operations of a forward pass.

    Args:
        name: one of :func:`names`.
        batch: how many examples.

    Returns:
        A table, with `layers`, `parameters`, `flops` and `other_flops`.

    Raises:
        ValueError: there is no such name.

    >>> summary("lenet")
    lenet
    layer   output           parameters  FLOPs of products
    ------------------------------------------------------
    conv1   [1, 28, 28, 6]          156            235,200
    conv2   [1, 10, 10, 16]       2,416            480,000
    dense1  [1, 120]             48,120             96,000
    dense2  [1, 84]              10,164             20,160
    dense3  [1, 10]                 850              1,680
    ------------------------------------------------------
    total                        61,706            833,040
    and 6,518 FLOPs of everything else
    """
    model = find(name)
    params, state = abstract_params(model)
    apply, examples = partial(model.module.apply, config=model.config), model.module.inputs(model.config, batch)
    if model.has_state:
        return layer_table(name, lambda p, s, *xs: apply(p, s, *xs)[0], params, state, *examples)
    return layer_table(name, apply, params, *examples)


def described(names: Sequence[str]) -> str:
    """A line for each name: what it is, and how many parameters it has."""
    rows = []
    for name in names:
        model = find(name)
        count = sum(leaf.size for leaf in tree.leaves(abstract_params(model)[0]))
        first = (model.module.__doc__ or "").splitlines()[0]
        rows.append((name, f"{count:,}", first))
    widths = [max(len(row[n]) for row in rows) for n in (0, 1)]
    return "\n".join(f"{name.ljust(widths[0])}  {count.rjust(widths[1])}  {first}" for name, count, first in rows)
