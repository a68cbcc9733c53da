"""State dicts in the layouts and with the names of torchvision and transformers, without torch."""

from functools import partial

import numpy as np
import pytest

from fdl import models, random, tree
from fdl.models import bert, gpt2, inception, lenet, mobilenet_v2, resnet, vgg

SMALL = {
    "lenet": lenet.Config(size=16),
    "vgg11": vgg.Config(((2,), (3, 3)), hidden=4, pooled=2, size=8, classes=3),
    "resnet50": resnet.Config((1, 2), (2, 3), bottleneck=True, imagenet=True, classes=3),
    "googlenet": inception.Config(norm="batch", small=True, auxiliary=True, width=0.05, classes=3),
    "mobilenet_v2": mobilenet_v2.Config(((1, 8, 1, 1), (2, 8, 2, 1)), width=0.25, classes=3),
    "bert": bert.Config(20, 6, 2, 8, 1, 2, 12),
    "bert_pretraining": bert.Config(20, 6, 2, 8, 2, 2, 12, masked=True, classes=2),
    "gpt2": gpt2.Config(20, 6, 8, 2, 2),
}
#: Names that torchvision's and transformers' modules have, with the shapes of these configurations.
NAMES = {
    "lenet": {"conv2.weight": (16, 6, 5, 5), "dense1.weight": (120, 64)},
    "vgg11": {"features.3.weight": (3, 2, 3, 3), "classifier.0.weight": (4, 12), "classifier.6.bias": (3,)},
    "resnet50": {
        "conv1.weight": (2, 3, 7, 7),
        "layer1.0.downsample.0.weight": (8, 2, 1, 1),
        "layer2.1.bn3.running_var": (12,),
        "fc.weight": (3, 12),
    },
    "googlenet": {
        "conv1.bn.weight": (3,),
        "inception3a.branch2.1.conv.weight": (6, 5, 3, 3),
        "aux2.fc1.weight": (51, 96),
        "inception5b.branch4.1.bn.running_mean": (6,),
    },
    "mobilenet_v2": {
        "features.0.0.weight": (8, 3, 3, 3),
        "features.1.conv.0.0.weight": (8, 1, 3, 3),
        "features.2.conv.2.weight": (8, 16, 1, 1),
        "features.4.1.running_var": (1280,),
        "classifier.1.weight": (3, 1280),
    },
    "bert": {
        "embeddings.word_embeddings.weight": (20, 8),
        "encoder.layer.0.intermediate.dense.weight": (12, 8),
        "pooler.dense.bias": (8,),
    },
    "bert_pretraining": {
        "bert.embeddings.token_type_embeddings.weight": (2, 8),
        "bert.encoder.layer.1.attention.output.LayerNorm.weight": (8,),
        "cls.predictions.decoder.weight": (20, 8),
        "cls.predictions.bias": (20,),
        "cls.seq_relationship.weight": (2, 8),
    },
    "gpt2": {
        "transformer.wpe.weight": (6, 8),
        "transformer.h.1.attn.c_attn.weight": (8, 24),
        "transformer.h.1.attn.c_attn.bias": (24,),
        "transformer.h.0.mlp.c_proj.weight": (32, 8),
        "lm_head.weight": (20, 8),
    },
}


@pytest.fixture(params=SMALL)
def made(request: pytest.FixtureRequest) -> tuple:
    """A name, its parameters (and state), and what makes a state dict of them."""
    config = SMALL[request.param]
    model = models.find(request.param)
    result = model.module.init(random.key(0), config)
    return request.param, config, result if model.has_state else (result,)


def test_arrays_go_there_and_back(made: tuple) -> None:
    name, config, given = made
    arrays = models.to_torch_state_dict(name, *given, config=config)
    again = models.from_state_dict(name, arrays, config=config)
    again = again if isinstance(again, tuple) else (again,)
    assert tree.structure(again) == tree.structure(given)
    for a, b in zip(tree.leaves(again), tree.leaves(given), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def test_names_and_shapes_are_those_of_the_modules(made: tuple) -> None:
    name, config, given = made
    arrays = models.to_torch_state_dict(name, *given, config=config)
    assert {key: arrays[key].shape for key in NAMES[name]} == NAMES[name]


def test_dense_layers_read_images_that_torch_flattens_channels_first() -> None:
    config = SMALL["vgg11"]
    params = vgg.init(random.key(0), config)
    images = np.random.default_rng(0).normal(size=(1, 2, 2, 3)).astype(np.float32)
    w = models.to_torch_state_dict("vgg11", params, config=config)["classifier.0.weight"]
    ours = images.reshape(1, -1) @ np.asarray(params["hidden1"]["w"])
    np.testing.assert_allclose(images.transpose(0, 3, 1, 2).reshape(1, -1) @ w.T, ours, rtol=1e-5, atol=1e-6)


def test_queries_keys_and_values_stand_side_by_side_in_gpt2() -> None:
    params = gpt2.init(random.key(0), SMALL["gpt2"])
    w = models.to_torch_state_dict("gpt2", params, config=SMALL["gpt2"])["transformer.h.1.attn.c_attn.weight"]
    x = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    parts = np.split(x @ w, 3, axis=1)  # transformers' Conv1D multiplies from the right
    for name, part in zip(("query", "key", "value"), parts, strict=True):
        np.testing.assert_allclose(part, x @ np.asarray(params["blocks"][1]["attention"][name]["w"]), rtol=1e-5)


def test_the_body_of_gpt2_has_shorter_names() -> None:
    params = gpt2.init(random.key(0), SMALL["gpt2"])
    arrays = models.to_torch_state_dict("gpt2", params, config=SMALL["gpt2"])
    body = {key.removeprefix("transformer."): array for key, array in arrays.items() if key != "lm_head.weight"}
    again = models.from_state_dict("gpt2", body | {"h.0.attn.bias": np.ones((1, 1, 6, 6))}, config=SMALL["gpt2"])
    np.testing.assert_array_equal(again["blocks"][1]["mlp"][0]["w"], np.asarray(params["blocks"][1]["mlp"][0]["w"]))
    del body["h.0.ln_1.bias"]
    with pytest.raises(ValueError, match=r"missing: transformer\.h\.0\.ln_1\.bias$"):
        models.from_state_dict("gpt2", body, config=SMALL["gpt2"])


def test_one_error_names_all_that_is_wrong() -> None:
    arrays = models.to_torch_state_dict("lenet", lenet.init(random.key(0)))
    del arrays["conv1.bias"], arrays["dense2.weight"]
    arrays |= {"dense3.bias": np.zeros(9), "fc.weight": np.zeros(1)}
    with pytest.raises(ValueError) as error:
        models.from_state_dict("lenet", arrays)
    for said in (
        "missing: conv1.bias",
        "missing: dense2.weight",
        "unexpected: fc.weight",
        "dense3.bias is [9], not [10]",
    ):
        assert said in str(error.value)


def test_parameters_of_another_configuration_are_refused() -> None:
    params = lenet.init(random.key(0), lenet.Config(size=16))
    write = partial(models.to_torch_state_dict, "lenet", params)
    with pytest.raises(ValueError, match="the parameters are not those of lenet"):
        write()
    assert write(config=lenet.Config(size=16))
