"""A search on disk: a table of its trials, and the checkpoints of those that may go on.

    search.json            what is searched, and what is known of each trial
    trial-00012/           checkpoints of trial 12, as `train(checkpoint=)` writes them

The table is written anew after each job, under another name, and moved into place. Reading it runs no code.
"""

import hashlib
import json
import os
import posixpath
import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

import fdl
from fdl_spark.checkpoints.checkpoint import CheckpointFolder
from fdl_spark.checkpoints.files import FAILED, open_files
from fdl_spark.errors import CheckpointError
from fdl_spark.searching.trial import Files, Trial
from fdl_spark.training.described import plain

FORMAT = 1
TABLE = "search.json"
KNOWN = ("value", "resource", "rung", "seconds", "error", "epochs", "step")


class Store:
    """The folder of a search.

    Args:
      location: a path or URI, as of `train`.
      arguments: what the search depends on, as JSON values.

    Raises:
      CheckpointError: the folder cannot be reached.
    """

    def __init__(self, location: str | os.PathLike[str], arguments: dict[str, Any]):
        self._held, self._root = CheckpointFolder(location), os.fspath(location)
        self.location, self.files, self.arguments = self._held.location, self._held.files, _as_json(arguments)

    def claim(self) -> None:
        """Make the folder, and this search's until `release`."""
        self._held.claim()

    def release(self) -> None:
        """Let others have the folder."""
        self._held.release()

    def load(self, trials: Sequence[Trial]) -> None:
        """Fill in what is known of trials from before.

        Raises:
          CheckpointError: the table is damaged, or of another search.
        """
        try:
            if TABLE not in self.files.names():
                return
            content = self.files.read(TABLE)
        except FAILED as error:
            raise CheckpointError(f"{self.location} cannot be read ({error})") from error
        where = f"{self.location}/{TABLE}"
        try:
            digest, text = content.split(b"\n", 1)
            if hashlib.sha256(text).hexdigest().encode() != digest:
                raise ValueError("it has another SHA-256 than when it was written")
            table = json.loads(text)
            if table["format"] != FORMAT:
                raise ValueError(f"it has format {table['format']}")
            records = {record["number"]: record for record in table["trials"]}
            before = table["arguments"]
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{where} cannot be read: {error}; delete it, or name another folder") from error
        changed = [name for name, value in self.arguments.items() if before.get(name) != value]
        for name in changed:
            raise CheckpointError(
                f"{where} is of another search: {name} was {before.get(name)!r}, is {self.arguments[name]!r}; "
                f"name another folder"
            )
        for trial in trials:
            record = records.get(trial.number)
            if record is None:
                continue
            if record["hyperparameters"] != _as_json(trial.hyperparameters):
                raise CheckpointError(
                    f"{where} is of another search: trial {trial.number} had {record['hyperparameters']}, "
                    f"has {trial.hyperparameters}; name another folder"
                )
            for name in KNOWN:
                setattr(trial, name, record.get(name))

    def save(self, trials: Sequence[Trial], files: dict[int, Files]) -> None:
        """Write checkpoints of trials, then the table."""
        try:
            for number, contents in files.items():
                folder = open_files(self._folder(number))
                folder.make()
                old = set(folder.names())
                # A JSON makes a checkpoint: it comes when what it describes is there.
                for name in sorted(contents, key=lambda name: name.endswith(".json")):
                    unfinished = f".{name}.{uuid.uuid4().hex}.unfinished"
                    folder.write(unfinished, contents[name])
                    folder.move(unfinished, name)
                for name in old - contents.keys():
                    folder.delete(name)
                folder.sync()
            known = [trial for trial in trials if trial.rung >= 0]
            records = [
                {"number": trial.number, "hyperparameters": trial.hyperparameters}
                | {name: getattr(trial, name) for name in KNOWN}
                for trial in known
            ]
            table = {"format": FORMAT, "arguments": self.arguments, "trials": records}
            text = json.dumps(table, indent=1, default=_plain).encode()
            unfinished = f".{TABLE}.{uuid.uuid4().hex}.unfinished"
            self.files.write(unfinished, hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
            self.files.move(unfinished, TABLE)
            self.files.sync()
        except FAILED as error:
            raise CheckpointError(f"{self.location} cannot be written ({error})") from error

    def files_of(self, trial: Trial) -> Files | None:
        """The checkpoints of a trial that has been run before; None if they are gone or damaged."""
        try:
            folder = open_files(self._folder(trial.number))
            found = CheckpointFolder(self._folder(trial.number)).load()
            return {name: folder.read(name) for name in folder.names()} if found is not None else None
        except (CheckpointError, *FAILED):
            return None

    def params_of(self, trial: Trial, like: Any) -> Any:
        """The parameters of a trial that has been run before; None if they are gone or of another shape."""
        found = None
        with suppress(CheckpointError, *FAILED):
            folder = CheckpointFolder(self._folder(trial.number))
            found = folder.tensors(max(folder.steps(), default=0) if trial.step is None else trial.step)
        pairs, structure = fdl.tree.flatten_with_path(like)
        names = [f"params{fdl.tree.keystr(path)}" for path, _ in pairs]
        if found is None or not set(names) <= set(found):
            return None
        return fdl.tree.unflatten(structure, [np.array(found[name]) for name in names])

    def _folder(self, number: int) -> str:
        return posixpath.join(self._root, f"trial-{number:05d}")


def _plain(value: Any) -> Any:
    """What JSON has no name for: arrays as lists, functions and optimizers by what they are, never by where."""
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    return value.tolist() if hasattr(value, "tolist") else plain(value)


def _as_json(value: Any) -> Any:
    """A value as it is when it has been written and read."""
    return json.loads(json.dumps(value, default=_plain))
