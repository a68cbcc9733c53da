"""Functions as data: a traced function with its parameters in one file, which is read without running code.

>>> import tempfile, fdl, fdl.numpy as fnp
>>> params = {"w": fnp.array([[1.0], [2.0]])}
>>> model = fdl.export.export(lambda params, x: x @ params["w"], params, fdl.ShapeDtypeStruct((8, 2), "float32"))
>>> with tempfile.TemporaryDirectory() as folder:
...     fdl.export.save(f"{folder}/model.safetensors", model)
...     again = fdl.export.load(f"{folder}/model.safetensors")
>>> again(fnp.ones((3, 2)))  # any number of rows
Array([[3.], [3.], [3.]], dtype=float32)
"""

from fdl.export.exported import Exported, ExportedFunction, export
from fdl.export.files import from_bytes, load, save, to_bytes
from fdl.export.library import library
from fdl.export.programs import ExportedProgram, program

__all__ = [
    "Exported",
    "ExportedFunction",
    "ExportedProgram",
    "export",
    "from_bytes",
    "library",
    "load",
    "program",
    "save",
    "to_bytes",
]


def __dir__() -> list[str]:
    return __all__
