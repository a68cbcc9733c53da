"""Models by name: numbers of parameters that were published, and what the command prints."""

import inspect
import re

import pytest

from fdl import models, tree
from fdl.models.__main__ import main
from fdl.models.table import MODULES, abstract_params
from tests.models import sequence_cases

#: Numbers of parameters by name.
PARAMETERS = {
    "lenet": 61_706,  # 60,000 in the paper, where not all maps are connected
    # torchvision's
    "vgg11": 132_863_336,
    "vgg13": 133_047_848,
    "vgg16": 138_357_544,
    "vgg19": 143_667_240,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "googlenet": 6_624_904,
    "mobilenet_v2": 3_504_872,
    "vit_b_16": 86_567_656,
    "vit_b_32": 88_224_232,
    # He et al. (2016), table 6: 0.27, 0.46, 0.66 and 0.85 million
    "resnet20": 269_722,
    "resnet32": 464_154,
    "resnet44": 658_586,
    "resnet56": 853_018,
    # Caffe's bvlc_googlenet, without and with its auxiliary classifiers
    "inception_v1": 6_998_552,
    "inception_v1_aux": 13_378_280,
    "ssd300": 26_285_486,  # ssd.pytorch's, for 21 classes with that of no object
    "unet": 31_030_658,  # that of figure 1 of the paper, by hand
    "deepbit": 138_357_544 - 4097 * 1000 + 4097 * 32,  # VGG-16 with 32 outputs
    # Shi et al. (2015), table 1
    "conv_lstm": 7_585_296,
    "conv_lstm_2": 10_042_896,
    "conv_lstm_1": 13_524_496,
    # MLPerf Tiny: 24,908 with the running statistics, two numbers for each of 576 channels
    "ds_cnn_s": 24_908 - 2 * 64 * 9,
    # sums by hand: convolutions of (taps, channels in, channels out), norms, dense layers
    "ds_cnn_m": (40 + 1 + 2) * 172 + 4 * ((9 + 1 + 2) * 172 + (172 + 1 + 2) * 172) + 173 * 12,
    "ds_cnn_l": (40 + 1 + 2) * 276 + 5 * ((9 + 1 + 2) * 276 + (276 + 1 + 2) * 276) + 277 * 12,
    "autoencoder": (9 + 1) * 16 + (144 + 1) * 32 + 1569 * 32 + 33 * 1568 + (288 + 1) * 16 + 145,
    **sequence_cases.PARAMETERS,
}


@pytest.mark.parametrize("name", models.names())
def test_numbers_of_parameters_are_those_published(name: str) -> None:
    found = sum(leaf.size for leaf in tree.leaves(abstract_params(models.find(name))[0]))
    assert found == PARAMETERS[name]


def test_each_module_has_what_the_package_says() -> None:
    for module in MODULES:
        for function in (module.init, module.apply, module.loss, module.inputs):
            assert inspect.signature(function).parameters["config"].default == module.Config(), function
        assert "Source: " in module.__doc__ and "Expected" in module.__doc__ and ">>> " in module.__doc__
        assert getattr(models, module.__name__.split(".")[-1]) is module
        assert all(isinstance(config, module.Config) for config in module.VARIANTS.values())


#: Multiplications with additions of a forward pass, in units of 10^9: torchvision's documentation has three digits.
MULTIPLY_ADDS = {"resnet18": 1.81, "resnet50": 4.09, "vgg16": 15.47, "googlenet": 1.50, "mobilenet_v2": 0.30}


@pytest.mark.parametrize("name", MULTIPLY_ADDS)
def test_operations_are_those_published(name: str) -> None:
    """Within what is published: two of our operations are one there."""
    assert abs(models.summary(name).flops / 2e9 - MULTIPLY_ADDS[name]) < 0.006


def test_the_command_prints_lists_and_tables(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == models.names()
    main(["lenet", "--summary", "--batch", "2"])
    table = capsys.readouterr().out
    assert re.search(r"dense3 +\[2, 10\] +850 +3,360", table) and "61,706" in table
    main(["lenet"])
    assert capsys.readouterr().out.startswith("lenet  61,706  LeNet-5")


@pytest.mark.parametrize("arguments", [["resnet51"], ["lenet", "--batch", "0"]])
def test_the_command_says_what_is_wrong(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert "resnet51" in (said := capsys.readouterr().err) or "--batch must be at least 1" in said


def test_unknown_names_are_refused_with_all_that_are_known() -> None:
    with pytest.raises(ValueError, match="there is no model 'lenet5'; there are: lenet"):
        models.find("lenet5")
