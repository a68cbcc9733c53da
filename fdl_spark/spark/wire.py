"""Bytes through Spark without pickling or batching: a shuffle and an output of payloads, and a frame for arrays."""

import pickle
import struct
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from pyspark.serializers import NoOpSerializer, pack_long

from fdl_spark.spark.classic import RDD, SparkContext

Payload = bytes | memoryview


def raw_shuffle(rdd: RDD, emit: Callable[[int, Iterator], Iterable[tuple[int, Payload]]], partitions: int) -> Any:
    """Send each payload to the partition it names.

    Args:
      rdd: any RDD.
      emit: maps (partition, iterator) to pairs (destination, payload).
      partitions: number of destinations.

    Returns:
      A Java RDD of byte arrays, whose partition n holds the payloads sent to n, in no particular order.
    """

    def frames(task: int, iterator: Iterator) -> Iterator[Payload]:
        for destination, payload in emit(task, iterator):
            yield pack_long(destination)
            yield payload

    keyed = rdd.mapPartitionsWithIndex(frames, preservesPartitioning=True)
    pairs = tagged(keyed)
    partitioner = rdd.ctx._jvm.PythonPartitioner(partitions, 0)
    return rdd.ctx._jvm.PythonRDD.valueOfPair(pairs.partitionBy(partitioner))


def clean_shuffle(shuffled: Any, context: SparkContext) -> None:
    """Delete the files of a `raw_shuffle`, and of no other one that its data came through."""
    cleaner = context._jsc.sc().cleaner()
    if cleaner.isDefined():
        pairs = shuffled.rdd().dependencies().head().rdd()
        cleaner.get().doCleanupShuffle(pairs.dependencies().head().shuffleId(), False)


def tagged(rdd: RDD) -> Any:
    """The Java pairs (long, bytes) of an RDD whose elements are, in turn, `pack_long(number)` and a payload."""
    rdd._bypass_serializer = True
    return rdd.ctx._jvm.PairwiseRDD(rdd._jrdd.rdd()).asJavaPairRDD()


def raw_input(java_rdd: Any, context: SparkContext) -> RDD:
    """The Python view of a Java RDD of byte arrays, or of pairs of them (then first and second take turns)."""
    return RDD(java_rdd, context, NoOpSerializer())


def raw_output(rdd: RDD, function: Callable[[int, Iterator], Iterable[Payload]]) -> RDD:
    """mapPartitionsWithIndex whose elements are bytes and stay so."""
    result = rdd.mapPartitionsWithIndex(function)
    result._jrdd_deserializer = NoOpSerializer()
    return result


def dtype_name(dtype: np.dtype) -> str:
    """What NumPy makes this dtype of; those that it does not have of its own, as bfloat16, all say "<V2" of themselves.

    >>> dtype_name(np.dtype(np.float32)), dtype_name(np.dtype("bfloat16"))
    ('<f4', 'bfloat16')
    """
    return dtype.name if dtype.kind == "V" else dtype.str


def pack(header: Any, array: np.ndarray | None) -> bytes:
    """One payload of a small Python object and the bytes of an array (None: no array)."""
    head = pickle.dumps((header, None if array is None else dtype_name(array.dtype)), protocol=5)
    head += b" " * (-(len(head) + 4) % 16)  # the array starts aligned; pickle stops reading at its own end
    body = b"" if array is None else np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    return b"".join((struct.pack("<I", len(head)), head, body))


def unpack(payload: Payload) -> tuple[Any, np.ndarray | None]:
    """The header and the array of `pack`; the array is read-only."""
    (size,) = struct.unpack_from("<I", payload)
    header, dtype = pickle.loads(memoryview(payload)[4 : 4 + size])
    return header, None if dtype is None else np.frombuffer(payload, dtype, offset=4 + size)
