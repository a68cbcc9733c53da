"""Checkpoints: all that a run is made of, as safetensors and JSON, on any file system that pyarrow reaches.

A checkpoint of step n is `step-n.safetensors` (parameters and optimizer state by key path) and `step-n.json`
(arguments, cursor, random key, history, and the SHA-256 of the former). Each is written under another name and moved
into place once both are whole, the JSON last: a checkpoint without it does not exist. Reading runs no code.
"""

import hashlib
import json
import os
import re
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import safetensors
import safetensors.numpy
from pyarrow import fs

from fdl_spark.errors import CheckpointError

FORMAT = 1
KEEP = 2
FAILED = (OSError, pa.ArrowException)  # what pyarrow's file systems raise


@dataclass(frozen=True)
class Saved:
    """A checkpoint's content.

    Attributes:
      step: steps done.
      arguments: what the run depends on, JSON values by name.
      tensors: parameters and optimizer state, by key path.
      history: the history as JSON values.
    """

    step: int
    arguments: dict[str, Any]
    tensors: dict[str, np.ndarray]
    history: dict[str, Any]


class CheckpointFolder:
    """The checkpoints of one run.

    Args:
      location: a path, or a URI such as `s3://bucket/run` or `hdfs://host/run`.

    Raises:
      CheckpointError: the location is no path, or of a file system that cannot be reached.
    """

    def __init__(self, location: str | os.PathLike[str]):
        try:
            self.location = os.fspath(location)
            if "://" in self.location:
                self.files, self.path = fs.FileSystem.from_uri(self.location)
            else:
                self.files, self.path = fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(self.location))
        except (TypeError, *FAILED) as error:
            raise CheckpointError(
                f"checkpoint={location!r} is no folder or URI that can be reached: {error}"
            ) from error

    def prepare(self) -> None:
        """Make the folder, try to write in it, and delete what a run that was killed left unfinished.

        Raises:
          CheckpointError: nothing can be written there.
        """
        try:
            self.files.create_dir(self.path, recursive=True)
            probe = f".{uuid.uuid4().hex}.probe"
            self._write({probe: b"fdl"})
            self.files.delete_file(f"{self.path}/{probe}")
            for info in self.files.get_file_info(fs.FileSelector(self.path)):
                if re.fullmatch(r"\.step-.*\.unfinished", info.base_name):
                    self.files.delete_file(info.path)
        except FAILED as error:
            raise CheckpointError(
                f"checkpoint={self.location!r} cannot be written ({error}); name a folder that can, or leave it out"
            ) from error

    def save(self, saved: Saved) -> None:
        """Write a checkpoint, and delete all but the last few.

        Raises:
          CheckpointError: it cannot be written; the ones before are as they were.
        """
        tensors = safetensors.numpy.save({name: np.array(array, order="C") for name, array in saved.tensors.items()})
        values = {
            "format": FORMAT,
            "step": saved.step,
            "arguments": saved.arguments,
            "sha256": hashlib.sha256(tensors).hexdigest(),
            "history": saved.history,
        }
        described = json.dumps(values, indent=1).encode()
        try:
            self._write({_name(saved.step, "safetensors"): tensors, _name(saved.step, "json"): described})
        except FAILED as error:
            raise CheckpointError(
                f"the checkpoint of step {saved.step} cannot be written to {self.location} ({error})"
            ) from error
        with suppress(*FAILED):
            for step in self.steps()[:-KEEP]:
                for ending in ("json", "safetensors"):
                    self.files.delete_file(f"{self.path}/{_name(step, ending)}")

    def load(self) -> Saved | None:
        """The newest checkpoint, or None if there is none.

        Raises:
          CheckpointError: a file is damaged, missing, or of another format.
        """
        step = None
        try:
            steps = self.steps()
            if not steps:
                return None
            step = steps[-1]
            values = json.loads(self._read(_name(step, "json")))
            if values["format"] != FORMAT:
                raise CheckpointError(f"{self._full(step, 'json')} has format {values['format']}, not {FORMAT}")
            tensors = self._read(_name(step, "safetensors"))
            if hashlib.sha256(tensors).hexdigest() != values["sha256"]:
                raise CheckpointError(f"{self._full(step, 'safetensors')} is damaged (wrong SHA-256); {ADVICE}")
            arrays = safetensors.numpy.load(tensors)
            _check_values(values, step)
            return Saved(step, values["arguments"], arrays, values["history"])
        except (ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError, *FAILED) as error:
            if isinstance(error, CheckpointError):
                raise
            where = self.location if step is None else self._full(step, "json")
            raise CheckpointError(f"{where} cannot be read ({error!r}); {ADVICE}") from error

    def steps(self) -> list[int]:
        """The steps of the checkpoints that are there, ascending."""
        found = self.files.get_file_info(fs.FileSelector(self.path, allow_not_found=True))
        matches = (re.fullmatch(r"step-(\d+)\.json", info.base_name) for info in found)
        return sorted(int(match.group(1)) for match in matches if match)

    def check(self, saved: Saved, arguments: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
        """Raise if a checkpoint is of a run with other arguments or another model.

        Args:
          saved: the checkpoint.
          arguments: this run's.
          tensors: this run's before its first step.

        Raises:
          CheckpointError: naming what differs.
        """
        where = f"the checkpoint of step {saved.step} in {self.location} is of another run"
        for name, value in arguments.items():
            if saved.arguments.get(name) != value:
                raise CheckpointError(f"{where}: {name} was {saved.arguments.get(name)!r}, is {value!r}; {ADVICE}")
        for name in sorted(tensors.keys() | saved.tensors.keys()):
            old, new = (_kind(arrays.get(name)) for arrays in (saved.tensors, tensors))
            if old != new:
                raise CheckpointError(f"{where}: {name} was {old}, is {new}; {ADVICE}")

    def _full(self, step: int, ending: str) -> str:
        return f"{self.location}/{_name(step, ending)}"

    def _write(self, contents: Mapping[str, bytes]) -> None:
        """Write files under names that nobody can foresee, and move them into place once all are whole."""
        unfinished = {name: f"{self.path}/.{name}.{uuid.uuid4().hex}.unfinished" for name in contents}
        try:
            for name, content in contents.items():
                with self.files.open_output_stream(unfinished[name]) as stream:
                    stream.write(content)
            for name, path in unfinished.items():
                self.files.move(path, f"{self.path}/{name}")
        except BaseException:
            for path in unfinished.values():
                with suppress(*FAILED):
                    self.files.delete_file(path)
            raise

    def _read(self, name: str) -> bytes:
        with self.files.open_input_stream(f"{self.path}/{name}") as stream:
            return stream.read()


def _check_values(values: Any, step: int) -> None:
    """Raise ValueError if the JSON is not what `save` writes; whoever wrote it, a run goes on from it."""
    arguments, history = values["arguments"], values["history"]
    records = [record for name in ("steps", "epochs", "events") for record in history[name]]
    if values["step"] != step or not isinstance(arguments["shards"], int) or arguments["shards"] < 1:
        raise ValueError("its step or number of shards is not right")
    if not all(isinstance(record, dict) and isinstance(record["step"], int) for record in records):
        raise ValueError("its history is not right")


ADVICE = "restore it, name another folder, or delete these files to go on from an earlier checkpoint or from the start"


def _name(step: int, ending: str) -> str:
    return f"step-{step:09d}.{ending}"


def _kind(array: np.ndarray | None) -> str:
    return "absent" if array is None else f"{array.dtype}{list(array.shape)}"
