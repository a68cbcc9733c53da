"""The scalars in TensorBoard's event files."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fdl_spark.errors import DataError


def read_tensorboard(path: str | os.PathLike[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The scalars in event files, of whatever program wrote them.

    What a run that went on from a checkpoint has hidden, as it took these steps again, is left out. A file that ends in
    the middle of a record, as a killed program leaves it, is read up to there.

    Args:
      path: an event file, or a folder, whose files are read in the order in which they were begun.

    Returns:
      By tag, such as "train/loss": the steps, int64 array (n,), and the values, float64 array (n,).

    Raises:
      DataError: there are no event files, or one is damaged.

    >>> import tempfile
    >>> read_tensorboard(tempfile.mkdtemp())
    Traceback (most recent call last):
    fdl_spark.errors.DataError: there is no event file in ...
    """
    files = sorted(Path(path).glob("*.tfevents.*")) if Path(path).is_dir() else [Path(path)]
    if not files:
        raise DataError(f"there is no event file in {path}")
    found: dict[str, list[tuple[int, float]]] = {}
    for events in sorted((list(_events(file)) for file in files), key=_begun):
        for event in events:
            if event.session_log.status == event.session_log.START and event.WhichOneof("what") == "session_log":
                found = {tag: [point for point in points if point[0] < event.step] for tag, points in found.items()}
            for value in event.summary.value:
                if (scalar := _scalar(value)) is not None:
                    found.setdefault(value.tag, []).append((event.step, scalar))
    columns = {tag: np.array(points, [("step", np.int64), ("value", np.float64)]) for tag, points in found.items()}
    return {tag: (points["step"], points["value"]) for tag, points in columns.items() if len(points)}


def _begun(events: list[Any]) -> float:
    return float(events[0].wall_time) if events else 0.0


def _scalar(value: Any) -> float | None:
    """The number of a summary's value, as TensorFlow 1 or 2 writes it; None if it is something else."""
    kind = value.WhichOneof("value")
    if kind == "simple_value":
        return float(value.simple_value)
    tensor = value.tensor
    if kind != "tensor" or value.metadata.plugin_data.plugin_name != "scalars" or tensor.tensor_shape.dim:
        return None
    if tensor.tensor_content:
        dtype = {1: np.float32, 2: np.float64}.get(tensor.dtype)
        return None if dtype is None else float(np.frombuffer(tensor.tensor_content, dtype)[0])
    numbers = [*tensor.float_val, *tensor.double_val]
    return float(numbers[0]) if numbers else None


def _events(path: Path) -> Iterator[Any]:
    """The events of a file: records of a length, its checksum, so many bytes, and their checksum."""
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c

    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    at = 0
    while at + 12 <= len(content):
        head, (length, checksum) = content[at : at + 8], struct.unpack_from("<QI", content, at)
        if masked_crc32c(head) != checksum:
            raise DataError(f"{path} is damaged, or no event file: the record at byte {at} has another checksum")
        body = content[at + 12 : at + 12 + length]
        if at + 16 + length > len(content):
            return
        if masked_crc32c(body) != struct.unpack_from("<I", content, at + 12 + length)[0]:
            raise DataError(f"{path} is damaged: the record at byte {at} has another checksum")
        yield Event.FromString(body)
        at += 16 + length
