"""Checkpoints: all that a run is made of, as safetensors and JSON, on any file system that pyarrow reaches.

A checkpoint of step n is `step-n.safetensors` (parameters and optimizer state by key path) and `step-n.json`
(arguments, cursor, random key, the end of the history, and the SHA-256 of the former, of the history's segments, and of
itself). Each is written under another name and moved into place once both are on the disk, the JSON last: a checkpoint
without it does not exist. What is not as it was written is not read: the newest checkpoint that is whole is used, and
those after it are set aside, not deleted. Reading runs no code.
"""

import errno
import hashlib
import json
import logging
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from fdl_spark.checkpoints.claim import Claim, Taken, claim
from fdl_spark.checkpoints.files import FAILED, open_files
from fdl_spark.checkpoints.journal import Journal, Records, check_history, read_history
from fdl_spark.credentials import masked
from fdl_spark.errors import CheckpointError
from fdl_spark.history.history import KINDS
from fdl_spark.logs import plain

log = logging.getLogger("fdl_spark")

FORMAT = 2
KEEP = 2
DESCRIBED = re.compile(r"step-(\d+)\.json")
PART = re.compile(r"(step|history)-(\d+)(\.json|\.safetensors|-[0-9a-f]{8}\.jsonl)")  # of a checkpoint
UNFINISHED = re.compile(r"\.(?:step|history)-(\d+)[-.].*\.unfinished")
PROBE = re.compile(r"\.{1,2}[0-9a-f]{32}\.probe(\.[0-9a-f]{32}\.unfinished)?")
NOT_AS_WRITTEN = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RecursionError,
    FileNotFoundError,
    safetensors.SafetensorError,
)


@dataclass(frozen=True)
class Saved:
    """A checkpoint's content.

    Attributes:
      step: steps done.
      arguments: what the run depends on, JSON values by name.
      tensors: parameters and optimizer state, by key path.
      history: records by kind, as `History.records` has them.
    """

    step: int
    arguments: dict[str, Any]
    tensors: dict[str, np.ndarray]
    history: Records


class CheckpointFolder:
    """The checkpoints of one run.

    Args:
      location: a path, or a URI such as `s3://bucket/run` or `hdfs://host/run`.
      keep: how many of the newest checkpoints stay, at least 1.

    Attributes:
      location: as messages name it, without credentials.
      problems: (step, what is wrong) of the checkpoints after the one that `load` gave.

    Raises:
      CheckpointError: the location is no path, or of a file system that cannot be reached.
    """

    def __init__(self, location: str | os.PathLike[str], keep: int = KEEP):
        self.keep = keep
        try:
            self.files = open_files(os.fspath(location))
            self.location = masked(os.fspath(location))
        except (TypeError, *FAILED) as error:
            raise CheckpointError(
                f"checkpoint={location!r} is no folder or URI that can be reached: {error}"
            ) from error
        self.problems: list[tuple[int, str]] = []
        self._journal = Journal()
        self._claim: Claim | None = None
        self._whole: list[int] | None = None  # steps of checkpoints that are not known to be damaged, ascending
        self._newest: int | None = None  # the step that `load` gave, -1 for none

    def claim(self) -> None:
        """Make the folder, if it is not there, and this run's until `release`.

        Raises:
          CheckpointError: another run has it; or nothing can be written there.
        """
        try:
            self.files.make()
            self._claim = claim(self.files)
        except Taken as taken:
            raise CheckpointError(
                f"checkpoint={self.location!r} is in use by {taken}; wait until that run ends, or name another folder"
            ) from None
        except FAILED as error:
            raise self._unwritable(error) from error

    def release(self) -> None:
        """Let other runs have the folder."""
        if self._claim is not None:
            held, self._claim = self._claim, None
            held.release()

    def load(self) -> Saved | None:
        """The newest checkpoint that is whole, or None if there is none at all; changes nothing in the folder.

        Newer ones that are damaged, or whose writing was interrupted, are told in one line of the log and in
        `problems`.

        Raises:
          CheckpointError: there are checkpoints, none of which is whole; or one cannot be reached, or is of a newer
            format.
        """
        try:
            names = self.files.names()
            self._whole, damaged, found = _steps(names), dict[int, str](), None
            for step in reversed(self._whole):
                try:
                    found, self._journal = self._read(step)
                    break
                except CheckpointError as error:
                    raise CheckpointError(f"{self._full(step, 'json')} {error}; {ADVICE}") from None
                except NOT_AS_WRITTEN as error:
                    damaged[step] = f"{self._full(step, 'json')} cannot be read: {_reason(error)}"
        except FAILED as error:
            raise CheckpointError(f"{self.location} cannot be read ({error})") from error
        if damaged and found is None:
            first, *others = damaged.values()
            also = f", nor can the {len(others)} before it" if others else ""
            raise CheckpointError(f"{first}{also}; {ADVICE}")
        self._newest = found.step if found else -1
        self._whole = [step for step in self._whole if step <= self._newest]
        self.problems = sorted({**self._interrupted(names), **damaged}.items())
        if self.problems:
            told = "; ".join(text for _, text in self.problems)
            log.warning("%s; %s", told, f"training goes on from step {found.step}" if found else "training starts anew")
        return found

    def prepare(self) -> None:
        """Make the folder, try to write in it, delete what a run that was killed left unfinished, and set aside the
        files of the checkpoints that `load` found damaged or interrupted.

        Raises:
          CheckpointError: nothing can be written there.
        """
        try:
            self.files.make()
            probe = f".{uuid.uuid4().hex}.probe"
            self._write({probe: b"fdl"})
            self.files.delete(probe)
            aside = f"{uuid.uuid4().hex[:8]}.broken"
            for name in self.files.names():
                part = PART.fullmatch(name)
                if UNFINISHED.fullmatch(name) or PROBE.fullmatch(name):
                    self.files.delete(name)
                elif part and self._newest is not None and int(part[2]) > self._newest:
                    self.files.move(name, f"{name}.{aside}")
        except FAILED as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: Exception) -> CheckpointError:
        return CheckpointError(
            f"checkpoint={self.location!r} cannot be written ({error}); name a folder that can, or leave it out"
        )

    def save(self, saved: Saved, best: int | None = None) -> None:
        """Write a checkpoint, and delete all but the last few and the best one.

        Args:
          saved: its content.
          best: the step of the checkpoint with the best parameters, if one is to stay for them.

        Raises:
          CheckpointError: it cannot be written, or the folder is another run's now; the ones before are as they were.
        """
        tensors = safetensors.numpy.save({name: np.array(array, order="C") for name, array in saved.tensors.items()})
        journal, history, segments = self._journal.add(saved.step, saved.history)
        values = {
            "format": FORMAT,
            "step": saved.step,
            "arguments": saved.arguments,
            "tensors": {"bytes": len(tensors), "sha256": hashlib.sha256(tensors).hexdigest()},
        } | ({} if best is None else {"best": best})
        described = signed(json.dumps(values, indent=1, default=plain).encode()[:-2] + b',\n "history": ' + history)
        try:
            if self._claim is not None:
                self._claim.check()
            if self._whole is None:
                self._whole = self.steps()
            contents = segments | {_name(saved.step, "safetensors"): tensors, _name(saved.step, "json"): described}
            with self._nothing_half(saved.step, contents):
                self._write(contents)
        except Taken as taken:
            raise CheckpointError(
                f"the checkpoint of step {saved.step} is not written: {self.location} is now in use by {taken}"
            ) from None
        except FAILED as error:
            raise CheckpointError(
                f"the checkpoint of step {saved.step} cannot be written to {self.location} ({error})"
            ) from error
        self._journal, self._whole = journal, sorted({*self._whole, saved.step})
        for old in [step for step in self._whole[: -self.keep] if step != best]:
            self._whole.remove(old)
            for ending in ("json", "safetensors"):
                with suppress(*FAILED):
                    self.files.delete(_name(old, ending))

    def tensors(self, step: int) -> dict[str, np.ndarray] | None:
        """The tensors of one checkpoint; None if it is not there, or not whole."""
        if step not in self.steps():
            return None
        with suppress(CheckpointError, *NOT_AS_WRITTEN, *FAILED):
            return self._read(step)[0].tensors
        return None

    def steps(self) -> list[int]:
        """The steps of the checkpoints that are there, damaged or not, ascending."""
        return _steps(self.files.names())

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

    def _read(self, step: int) -> tuple[Saved, Journal]:
        """A checkpoint and the Journal that goes on from it.

        Raises:
          one of NOT_AS_WRITTEN: a file is damaged or missing.
          one of FAILED: a file cannot be reached; whether it is damaged is not known.
          CheckpointError: it is of a newer format.
        """
        try:
            values = _values(self.files.read(_name(step, "json")))
            tensors = self.files.read(_name(step, "safetensors"))
            if values["step"] != step:
                raise ValueError(f"it is of step {values['step']}")
            old = values["format"] == 1
            digest = values["sha256"] if old else values["tensors"]["sha256"]
            if hashlib.sha256(tensors).hexdigest() != digest:
                raise ValueError(f"{_name(step, 'safetensors')} is damaged (wrong SHA-256)")
            journal, history = (Journal(), values["history"]) if old else read_history(values["history"], self.files)
        except OSError as error:
            if error.errno == errno.EIO:
                raise ValueError(str(error)) from error
            raise
        check_history(history)
        arguments = values["arguments"]
        if not isinstance(arguments, dict) or type(arguments["shards"]) is not int or arguments["shards"] < 1:
            raise ValueError("its number of shards is not right")
        history = {kind: list(history.get(kind, ())) for kind in KINDS}
        return Saved(step, arguments, _arrays(tensors), history), journal

    def _interrupted(self, names: list[str]) -> dict[int, str]:
        """What to say of the checkpoints after the newest one of which there are files, but no JSON."""
        parts = [match[2] for match in map(PART.fullmatch, names) if match and match[1] == "step"]
        begun = [int(step) for step in parts + [match[1] for match in map(UNFINISHED.fullmatch, names) if match]]
        assert self._newest is not None
        return {
            step: f"the writing of {self._full(step, 'json')} was interrupted" for step in begun if step > self._newest
        }

    @contextmanager
    def _nothing_half(self, step: int, names: Iterable[str]) -> Iterator[None]:
        """Delete the files of a checkpoint that was not there before, if writing it fails half-way."""
        try:
            yield
        except BaseException:
            if self._whole is not None and step not in self._whole:
                for name in names:
                    with suppress(*FAILED):
                        self.files.delete(name)
            raise

    def _write(self, contents: Mapping[str, bytes]) -> None:
        """Write files under names that nobody can foresee, and move them into place once all are whole, the last one
        when the others are there for good."""
        unfinished = {name: f".{name}.{uuid.uuid4().hex}.unfinished" for name in contents}
        *others, last = contents
        try:
            for name, content in contents.items():
                self.files.write(unfinished[name], content)
            for name in others:
                self.files.move(unfinished[name], name)
            self.files.sync()
            self.files.move(unfinished[last], last)
            self.files.sync()
        except BaseException:
            for name in unfinished.values():
                with suppress(*FAILED):
                    self.files.delete(name)
            raise


def signed(text: bytes) -> bytes:
    """JSON whose last entry is the SHA-256 of all that comes before it.

    Args:
      text: the object without its closing brace.
    """
    text += b',\n "sha256": "'
    return text + hashlib.sha256(text).hexdigest().encode() + END


END = b'"\n}\n'


def _values(content: bytes) -> Any:
    """The JSON, if it is as it was written; what format 1 says of itself cannot be checked.

    Raises:
      ValueError, TypeError, KeyError, RecursionError: it is not.
      CheckpointError: it is of a newer format.
    """
    text, digest = content[: -64 - len(END)], content[-64 - len(END) :]
    whole = digest == hashlib.sha256(text).hexdigest().encode() + END
    values = json.loads(content)
    if not whole and values["format"] != 1:
        raise ValueError("it has another SHA-256 than when it was written")
    if whole and values["format"] != FORMAT:
        raise CheckpointError(f"has format {values['format']}, which this version of fdl cannot read")
    return values


def _arrays(content: bytes) -> dict[str, np.ndarray]:
    """The tensors by name; `safetensors.numpy.load` has no name for the types that NumPy itself lacks."""
    found = {}
    for name, tensor in safetensors.deserialize(content):
        kind = tensor["dtype"]
        dtype = _NAMES.get(kind) or {"F": "float", "I": "int", "U": "uint"}[kind[0]] + kind[1:]
        found[name] = np.frombuffer(tensor["data"], np.dtype(dtype)).reshape(tensor["shape"])
    return found


# NumPy has bfloat16 from ml_dtypes, which fdl imports.
_NAMES = {"BF16": "bfloat16", "BOOL": "bool", "C64": "complex64"}


def _steps(names: list[str]) -> list[int]:
    return sorted(int(match[1]) for match in map(DESCRIBED.fullmatch, names) if match)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, ValueError | OSError) else repr(error)


ADVICE = "restore it, name another folder, or delete these files to go on from an earlier checkpoint or from the start"


def _name(step: int, ending: str) -> str:
    return f"step-{step:09d}.{ending}"


def _kind(array: np.ndarray | None) -> str:
    return "absent" if array is None else f"{array.dtype}{list(array.shape)}"
