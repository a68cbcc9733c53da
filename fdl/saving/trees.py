"""Pytrees as files of safetensors: the arrays by key path, and the structure as JSON in the metadata."""

import hashlib
import json
import os
import struct
from collections.abc import Mapping, Sequence
from mmap import ACCESS_READ
from mmap import mmap as MappedFile
from typing import Any

import numpy as np

from fdl import tree
from fdl.array import Array
from fdl.control.data import NoDataError, read_type, write_type
from fdl.core.types import TensorType
from fdl.errors import ExportError, FileError
from fdl.saving.atomic import write_atomically
from fdl.saving.background import Saving, in_background
from fdl.saving.structures import numbered, read_structure, write_structure
from fdl.saving.tensors import buffer, can_write, fits, joined, read_tensors, write_tensors

FORMAT = 1
_NOT_AS_WRITTEN = (
    NoDataError, ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError, struct.error,
)  # fmt: skip
#: Leaves that are no arrays, by the name of their class, and what reads them.
_PLAIN: dict[str, Any] = {
    "bool": lambda text: {"True": True, "False": False}[text], "int": int, "float": float.fromhex, "complex": complex,
    "str": str,
}  # fmt: skip


def save(path: str | os.PathLike[str], tree: Any, *, wait: bool = True) -> Saving | None:
    """Write a pytree to a file, which is whole or not there.

    Args:
        path: of the file; one that is there is replaced when the new one is on the disk.
        tree: arrays of any shape and dtype, random keys, numbers of Python and text, in dicts, lists, tuples and
            registered classes.
        wait: whether to return when the file is written. Otherwise the arrays are copied, and the file is written
            while the program goes on; files are written in the order of the calls.

    Returns:
        None, or, with ``wait=False``, a `Saving`, whose `wait()` returns when the file is on the disk.

    Raises:
        FileError: a leaf is no array, number or text, or a dict has keys that are no text and no whole number.
        OSError: the file cannot be written; what was there stays.

    The file is one of `safetensors <https://github.com/huggingface/safetensors>`_, which other programs read too; each
    array has the name of its key path (``layers.0.w``). The structure and a SHA-256 are in the metadata.

    >>> import tempfile, fdl, fdl.numpy as fnp
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fdl.save(f"{folder}/state.safetensors", {"w": fnp.ones(2), "step": 3})
    ...     fdl.load(f"{folder}/state.safetensors")
    {'w': Array([1., 1.], dtype=float32), 'step': 3}
    """
    pieces = write_tensors(*_contents(tree, copy=not wait))
    if wait:
        write_atomically(path, pieces)
        return None
    return in_background(path, pieces)


def load(path: str | os.PathLike[str], like: Any = None, *, mmap: bool = False) -> Any:
    """The pytree of a file that `save` wrote, or of any file of safetensors; runs no code of it.

    Args:
        path: of the file.
        like: a tree of the structure that is wanted, with arrays or `fdl.ShapeDtypeStruct`s as leaves. The arrays of
            the file are put into it by their names, and must have its shapes and dtypes. Without it the structure is
            that of the file: nodes of registered classes come as dicts of their attributes, and a file without a
            structure as a dict of its names.
        mmap: whether the arrays are left in the file, and read when they are used. Do not change the file meanwhile
            (`save` puts a new one in its place). Its SHA-256 is not checked.

    Returns:
        The tree, with an `fdl.Array` for each array.

    Raises:
        FileError: the file is damaged, of a newer version, or does not fit `like`; the message lists the names.
        OSError: it cannot be read.
    """
    name = os.fspath(path)
    try:
        tensors, texts = read_tensors(_mapped(name), copy=not mmap)
        text = texts.get("fdl_tree")
        if text is None:
            leaves: dict[str, Any] = dict(tensors)
            found: Any = tensors
        else:
            if not mmap and texts["sha256"] != digest(text, tensors):
                raise ValueError("it has another SHA-256 than when it was written")
            leaves, found = _read(text, tensors)
    except _NOT_AS_WRITTEN as error:
        raise FileError(
            f"{name} is damaged, or no file of safetensors: {str(error) or type(error).__name__}"
        ) from error
    if like is not None:
        return _like(name, leaves, like)
    return tree.map(_leaf, found)


def digest(text: str, tensors: Mapping[str, Any]) -> str:
    """The SHA-256 of a text and of arrays by name, in hexadecimal."""
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(buffer(tensors[name]))
    return found.hexdigest()


def _contents(value: Any, copy: bool) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and texts of the file of a tree."""
    paths, leaves = _paths_and_leaves(value)
    tensors, entries = dict[str, np.ndarray](), []
    for name, path, leaf in zip(_names(paths), paths, leaves, strict=True):
        kind = type(leaf).__name__
        if type(leaf) in (bool, int, float, complex, str):
            entries.append([kind, leaf.hex() if kind == "float" else repr(leaf) if kind != "str" else leaf])
            continue
        tensors[name] = array = _array(leaf, path, copy)
        entries.append([name, write_type(TensorType(array.shape, array.dtype))])
    try:
        structure = write_structure(numbered(value))
    except ExportError as error:
        raise FileError(f"save: {error}") from None
    text = json.dumps({"format": FORMAT, "structure": structure, "leaves": entries})
    return tensors, {"fdl_tree": text, "sha256": digest(text, tensors)}


def _array(leaf: Any, path: Any, copy: bool) -> np.ndarray:
    array = np.asarray(leaf) if hasattr(leaf, "__array__") or isinstance(leaf, np.generic) else None
    if array is not None and not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array is None or not can_write(array.dtype):
        of = f" of dtype {array.dtype}" if array is not None else ""
        raise FileError(
            f"save: tree{tree.keystr(path)} is {type(leaf).__name__}{of}, which no file holds; use "
            "arrays, numbers and text"
        )
    return array.copy() if copy else array


def _paths_and_leaves(value: Any) -> tuple[list[Any], list[Any]]:
    found = tree.leaves_with_path(value)
    return [path for path, _ in found], [leaf for _, leaf in found]


def _names(paths: Sequence[Any]) -> list[str]:
    """A name for each key path: its steps with points between, unless two were equal then."""
    names = [tree.keystr(path, simple=True, separator=".") or "array" for path in paths]
    if len(set(names)) == len(names) and "__metadata__" not in names:
        return names
    return [tree.keystr(path) for path in paths]


def _mapped(name: str) -> MappedFile:
    with open(name, "rb") as file:
        if not os.fstat(file.fileno()).st_size:
            raise ValueError("it is empty")
        return MappedFile(file.fileno(), 0, access=ACCESS_READ)


def _read(text: str, tensors: dict[str, np.ndarray]) -> tuple[dict[str, Any], Any]:
    """The leaves by name, and the tree, of a structure as JSON.

    Raises:
        One of _NOT_AS_WRITTEN: `save` has not written it.
    """
    values = json.loads(text)
    if values["format"] != FORMAT:
        raise ValueError(f"it has format {values['format']}, and this version of fdl reads format {FORMAT}")
    leaves = []
    for name, data in values["leaves"]:
        if type(data) is str:
            leaves.append(_PLAIN[name](data))
        else:
            leaves.append(joined(tensors[name], read_type(data)))
    found = read_structure(values["structure"])
    numbers, structure = tree.flatten(found)
    if sorted(numbers) != list(range(len(leaves))):
        raise ValueError("its structure has other leaves than it says")
    ordered = [leaves[number] for number in numbers]
    result = tree.unflatten(structure, ordered)
    paths, _ = _paths_and_leaves(result)
    return dict(zip(_names(paths), ordered, strict=True)), result


def _like(file: str, found: dict[str, Any], like: Any) -> Any:
    """The leaves of a file, in the structure of another tree."""
    wanted, structure = tree.flatten(like)
    paths, _ = _paths_and_leaves(like)
    names = _names(paths)
    missing, unexpected = [n for n in names if n not in found], [n for n in found if n not in set(names)]
    if missing or unexpected:
        parts = [f"it has no {_listed(missing)}"] if missing else []
        parts += [f"`like` has no {_listed(unexpected)}"] if unexpected else []
        raise FileError(f"{file} has another structure than `like`: {'; '.join(parts)}")
    leaves = []
    for name, path, leaf in zip(names, paths, wanted, strict=True):
        value, where = found[name], f"like{tree.keystr(path)}"
        if hasattr(leaf, "shape") and hasattr(leaf, "dtype"):
            type_ = TensorType(tuple(leaf.shape), np.dtype(leaf.dtype))
            if not isinstance(value, np.ndarray) or not fits(value, type_):
                raise FileError(
                    f"{file} has {_kind(value)} as {name!r}, where {where} is {type_}; give `like` the types of "
                    "the file, and convert the result"
                )
            value = joined(value, type_)
        elif type(leaf) is not type(value):
            raise FileError(f"{file} has {_kind(value)} as {name!r}, where {where} is {_kind(leaf)}")
        leaves.append(_leaf(value))
    return tree.unflatten(structure, leaves)


def _kind(value: Any) -> str:
    return str(TensorType(value.shape, value.dtype)) if isinstance(value, np.ndarray) else f"{value!r}"


def _listed(names: Sequence[str], most: int = 8) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + rest


def _leaf(value: Any) -> Any:
    return Array(value) if isinstance(value, np.ndarray) else value
