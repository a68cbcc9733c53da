"""A history on disk, to which each checkpoint appends: segments that are written once, and a tail.

    step-000000900.json                  "history": {"sealed": the last segment, "steps": [records], ...}
    history-000000600-6f1c20aa.jsonl     {"previous": the segment before, ...}, then a record a line

The tail is in the checkpoint's own file, and becomes a segment when it is long. Each segment has the name and SHA-256
of the one before, and the checkpoint those of the last one, so that its digest stands for the whole history, and older
checkpoints go on with segments that later ones share. A file is never changed, which object stores could not do.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fdl_spark.checkpoints.files import Files
from fdl_spark.history.history import KINDS
from fdl_spark.logs import plain

SEGMENT = 1 << 18  # bytes of a tail from which on it becomes a segment; a checkpoint writes at most so many again
SEGMENTS = re.compile(r"history-(\d+)-[0-9a-f]{8}\.jsonl")

Records = Mapping[str, list[dict[str, Any]]]  # by kind


@dataclass(frozen=True)
class Journal:
    """What is in segments already.

    Attributes:
      sealed: name and SHA-256 of the last segment, None if there is none.
      counts: how many records of each kind the segments hold.
      last: the last of these records, to see whether a history continues this one.
    """

    sealed: dict[str, str] | None = None
    counts: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    last: Mapping[str, Any] = field(default_factory=dict)

    def add(self, step: int, records: Records) -> tuple["Journal", bytes, dict[str, bytes]]:
        """Describe a longer history.

        Args:
          step: of the checkpoint.
          records: the whole history; only what comes after the segments is looked at.

        Returns:
          The Journal to go on with once the files are written, the checkpoint's JSON entry, and new files by name.
        """
        if not self._continued(records):
            return Journal().add(step, records)
        lines = {kind: [_line(record) for record in records.get(kind, ())[self.counts[kind] :]] for kind in KINDS}
        journal, files = self, dict[str, bytes]()
        # The last of each kind stays in the tail: callbacks, which are called after this, may add to it.
        older = {kind: lines[kind][:-1] for kind in KINDS}
        if sum(len(line) for kind in KINDS for line in older[kind]) >= SEGMENT:
            journal, files = self._seal(step, records, older)
            lines = {kind: lines[kind][-1:] for kind in KINDS}
        head = {"counts": {kind: len(records.get(kind, ())) for kind in KINDS}, "sealed": journal.sealed}
        tails = [_entry(kind, lines[kind]) for kind in KINDS]
        return journal, b",\n  ".join([json.dumps(head).encode()[:-1], *tails]) + b"}", files

    def _continued(self, records: Records) -> bool:
        """Whether the records that the segments hold are still what the history begins with."""
        return all(
            self.counts[kind] <= len(records.get(kind, ()))
            and (not self.counts[kind] or records[kind][self.counts[kind] - 1] is self.last[kind])
            for kind in KINDS
        )

    def _seal(self, step: int, records: Records, lines: dict[str, list[bytes]]) -> tuple["Journal", dict[str, bytes]]:
        counts = {kind: self.counts[kind] + len(lines[kind]) for kind in KINDS}
        header = {"previous": self.sealed} | {kind: len(lines[kind]) for kind in KINDS}
        content = b"\n".join([json.dumps(header).encode(), *_named(lines), b""])
        digest = hashlib.sha256(content).hexdigest()
        name = f"history-{step:09d}-{digest[:8]}.jsonl"
        last = {kind: records[kind][count - 1] for kind, count in counts.items() if count}
        return Journal({"name": name, "sha256": digest}, counts, last), {name: content}


def read_history(entry: Any, files: Files) -> tuple[Journal, dict[str, list[dict[str, Any]]]]:
    """The history of a checkpoint.

    Args:
      entry: the checkpoint's JSON entry.
      files: where the segments are.

    Returns:
      The Journal to go on with, and the records by kind.

    Raises:
      ValueError, KeyError, TypeError: the entry or a segment is not what it was when it was written.
      OSError, pyarrow.ArrowException: a segment cannot be read.
    """
    contents, sealed = [], entry["sealed"]
    while sealed is not None:
        header, *lines = _segment(sealed, files).splitlines()
        contents.append(lines)
        sealed = json.loads(header)["previous"]
    records: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
    for lines in reversed(contents):
        for line in json.loads(b"[" + b",".join(lines) + b"]"):
            ((kind, record),) = line.items()
            records[kind].append(record)
    counts = {kind: len(records[kind]) for kind in KINDS}
    journal = Journal(entry["sealed"], counts, {kind: records[kind][-1] for kind in KINDS if records[kind]})
    for kind in KINDS:
        records[kind] += entry.get(kind, ())
    if any(entry["counts"].get(kind, 0) != len(records[kind]) for kind in KINDS):
        raise ValueError("the number of records in its history is not right")
    return journal, records


def check_history(records: Any) -> None:
    """Raise ValueError, KeyError or TypeError unless records are such as a run writes, whoever wrote them."""
    for kind in KINDS:  # any but the first may be missing where there are none
        before = -1
        for record in records.get(kind, ()):
            numbers = [record["step"]]
            if kind == "steps":
                numbers += [record["rows"], record["loss"], record["seconds"], *record["phases"].values()]
            elif kind == "epochs":
                numbers.append(record["epoch"])
            if not all(type(number) in (int, float) for number in numbers) or type(record["step"]) is not int:
                raise ValueError("its history has something else than numbers")
            if kind == "steps" and record["step"] <= before:
                raise ValueError("its history is not in order")
            before = record["step"]


def _segment(reference: Any, files: Files) -> bytes:
    name = reference["name"]
    if not SEGMENTS.fullmatch(name):
        raise ValueError(f"{name!r} is no segment of a history")
    content = files.read(name)
    if hashlib.sha256(content).hexdigest() != reference["sha256"]:
        raise ValueError(f"{name} has another SHA-256 than when it was written")
    return content


def _line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, default=plain).encode()


def _named(lines: dict[str, list[bytes]]) -> Iterator[bytes]:
    """The lines of a segment."""
    return (b'{"%s": %s}' % (kind.encode(), line) for kind in KINDS for line in lines[kind])


def _entry(kind: str, lines: list[bytes]) -> bytes:
    """The tail of one kind in a checkpoint's JSON."""
    return b'"%s": [%s]' % (kind.encode(), b",".join(b"\n   " + line for line in lines))
