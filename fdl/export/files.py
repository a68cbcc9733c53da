"""Exported functions as files: the Program as JSON inside of a file of safetensors; reading it runs no code."""

import json
import os
import struct
from typing import Any

import numpy as np

from fdl import tree
from fdl.control.data import NoDataError, read_program, read_type, write_program, write_type
from fdl.core.program import Program
from fdl.core.types import TensorType
from fdl.errors import ExportError
from fdl.export.exported import Exported, ExportedFunction
from fdl.export.programs import ExportedProgram
from fdl.saving.atomic import write_atomically
from fdl.saving.structures import read_structure, write_structure
from fdl.saving.tensors import joined, read_tensors, write_tensors
from fdl.saving.trees import digest

FORMAT = 1
_PROGRAM = {"kind": "program"}  # in the metadata of an ExportedProgram
_NOT_AS_WRITTEN = (
    NoDataError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    struct.error,
)


def to_bytes(exported: Exported | ExportedProgram) -> bytes:
    """An exported function or program as the bytes of a file of safetensors.

    The tensors are the parameters, named by key path, and the constants of the Program; the Program, the structures of
    arguments and result, `info` and a SHA-256 of all are JSON in the metadata.

    Raises:
        ExportError: `info` is no JSON, or the Program is longer than a file of safetensors can say.
    """
    params, info, kind = (exported.params, exported.info, {}) if isinstance(exported, Exported) else ((), {}, _PROGRAM)
    apply = exported.apply if isinstance(exported, Exported) else exported
    constants = list[np.ndarray]()
    program = write_program(apply.program, constants)
    tensors = {_parameter(path): leaf for path, leaf in tree.leaves_with_path(params)}
    tensors |= {_constant(number): value for number, value in enumerate(constants)}
    values = {
        "format": FORMAT,
        "program": program,
        "constants": [write_type(_type(value)) for value in constants],
        "arguments": write_structure(apply.arguments),
        "result": write_structure(apply.result),
        "info": info,
        **kind,
    }
    try:
        text = json.dumps(values, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ExportError(f"info must be JSON values: {error}") from None
    try:
        return b"".join(write_tensors(tensors, {"fdl": text, "sha256": digest(text, tensors)}))
    except ValueError as error:
        raise ExportError(f"the function cannot be a file: {error}") from None


def from_bytes(content: bytes, name: str = "these bytes") -> Exported | ExportedProgram:
    """The exported function or program that `to_bytes` wrote.

    Args:
        content: the bytes.
        name: of the file, for messages.

    Raises:
        ExportError: they are damaged, are of a newer format, or name operations that are not known here.
    """
    try:
        tensors, texts = read_tensors(content)
        text, signed = texts["fdl"], texts["sha256"]
        values = json.loads(text)
    except _NOT_AS_WRITTEN as error:
        raise ExportError(f"{name} is no exported function, or damaged: {_reason(error)}") from error
    if digest(text, tensors) != signed:
        raise ExportError(f"{name} is damaged: it has another SHA-256 than when it was written")
    try:
        if values["format"] != FORMAT:
            raise ValueError(f"it has format {values['format']}, and this version of fdl reads format {FORMAT}")
        types = list(map(read_type, values["constants"]))
        constants = [joined(tensors[_constant(number)], type) for number, type in enumerate(types)]
        program = read_program(values["program"], constants)
        structures = read_structure(values["arguments"]), read_structure(values["result"])
        if "kind" in values:
            _check_numbers(program, *structures)
            if values["kind"] != _PROGRAM["kind"] or len(tensors) != len(constants):
                raise ValueError(f"there is no kind {values['kind']!r} of function with {len(tensors)} tensors")
            return ExportedProgram(program, *structures)
        apply = ExportedFunction(program, *structures)
        _check(apply)
        wanted, structure = tree.flatten_with_path(apply.params)
        leaves = [joined(tensors[_parameter(path)], TensorType(t.shape, t.dtype)) for path, t in wanted]
        if len(tensors) != len(leaves) + len(constants):
            raise ValueError("it has tensors that the function does not read")
        return Exported(apply, tree.unflatten(structure, leaves), dict(values["info"]))
    except _NOT_AS_WRITTEN as error:
        raise ExportError(f"{name} cannot be read: {_reason(error)}") from error


def save(path: str | os.PathLike[str], exported: Exported | ExportedProgram) -> None:
    """Write an exported function to a file, which is whole or not there.

    Args:
        path: of the file; one that is there is replaced.
        exported: what `export` or `program` gave.

    Raises:
        OSError: it cannot be written.
    """
    write_atomically(path, [to_bytes(exported)])


def load(path: str | os.PathLike[str]) -> Exported | ExportedProgram:
    """The exported function of a file, or of a folder of fdl_spark.ml's; runs no code of it.

    Args:
        path: of a file that `save` wrote, or of a folder that holds one called `model.safetensors`.

    Returns:
        The Exported, to be called with a batch of any number of rows; or the ExportedProgram, with its arguments.

    Raises:
        ExportError: it is damaged, of a newer format, or names operations that are not known here.
        OSError: it cannot be read.
    """
    name = os.fspath(path)
    if os.path.isdir(name):
        name = os.path.join(name, FILE)
    with open(name, "rb") as file:
        return from_bytes(file.read(), name)


#: The name of the file in the folder of a model.
FILE = "model.safetensors"


def _check(apply: ExportedFunction) -> None:
    """Raise unless the structures number the inputs and outputs of the Program, parameters first."""
    params, batch = apply.arguments
    if tree.leaves(params) and tree.leaves(batch) and max(tree.leaves(params)) > min(tree.leaves(batch)):
        raise ValueError("the arguments are not those of the program")
    _check_numbers(apply.program, apply.arguments, apply.result)
    rows = {leaf.shape[:1] for leaf in tree.leaves(apply.batch)}
    rows |= {type.shape[:1] for type in apply.program.output_types}
    if len(rows) != 1 or rows <= {(), (0,)}:
        raise ValueError("the rows of the batch are not those of the result")


def _check_numbers(program: Program, arguments: Any, result: Any) -> None:
    """Raise unless structures number the inputs and outputs of a Program."""
    if sorted(tree.leaves(arguments)) != list(range(len(program.inputs))):
        raise ValueError("the arguments are not those of the program")
    if sorted(tree.leaves(result)) != list(range(len(program.outputs))):
        raise ValueError("the result is not that of the program")


def _parameter(path: Any) -> str:
    return f"params{tree.keystr(path)}"


def _constant(number: int) -> str:
    return f"constant {number}"


def _type(value: np.ndarray) -> TensorType:
    return TensorType(value.shape, value.dtype)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
