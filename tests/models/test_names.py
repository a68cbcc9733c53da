"""Models by name: numbers of parameters that were published, and what the command prints."""

import inspect
import re

import pytest

from fdl import models, tree
from fdl.models.__main__ import main
from fdl.models.table import MODULES, abstract_params

#: Numbers of parameters by name. lenet: the paper has 60,000 with fewer connections; all of them are counted here.
PARAMETERS = {
    "lenet": 61_706,
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
