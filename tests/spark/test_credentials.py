"""Credentials in URIs, which nothing that is written down or raised may tell."""

import pickle

import pytest

from fdl_spark import CheckpointError, Run
from fdl_spark.checkpoints.checkpoint import CheckpointFolder
from fdl_spark.credentials import masked
from fdl_spark.errors import ColumnError, DataError
from fdl_spark.history import History
from fdl_spark.history.ending import Ending
from fdl_spark.searching.store import Store
from fdl_spark.training.described import _name, plain

SECRET = "sEcReT"
URIS = {
    "s3://key:sEcReT@bucket/run": "s3://...@bucket/run",
    "s3a://key:sEc/ReT+sEcReT==@bucket/run": "s3a://...@bucket/run",
    "https://sEcReT@host/rows.parquet": "https://...@host/rows.parquet",
    "sftp://me@corp.com:sEc@ReT@host/rows": "sftp://...@host/rows",
    "redis://:1234@host:6379/0": "redis://...@host:6379/0",
    "abfs://rows:sEcReT@account/x": "abfs://...@account/x",
    "https://b.s3.amazonaws.com/a?X-Amz-Credential=sEcReT%2F2026&X-Amz-Date=2026&X-Amz-Signature=sEcReT":
        "https://b.s3.amazonaws.com/a?X-Amz-Credential=...&X-Amz-Date=2026&X-Amz-Signature=...",
    "https://x/a?AWSAccessKeyId=sEcReT&Signature=sE%2BcReT&Expires=12":
        "https://x/a?AWSAccessKeyId=...&Signature=...&Expires=12",
    "https://a.blob.core.windows.net/c?sv=2024&se=2026&sig=sEcReT%3D": "https://a.blob.core.windows.net/c?sv=2024&se=2026&sig=...",
    "s3://bucket/run?region=eu&session_token=sEcReT": "s3://bucket/run?region=eu&session_token=...",
    "jdbc:postgresql://h/db?user=me&password=sEcReT": "jdbc:postgresql://h/db?user=me&password=...",
    "DefaultEndpointsProtocol=https;AccountKey=sEcReT==;AccountName=a":
        "DefaultEndpointsProtocol=https;AccountKey=...;AccountName=a",
}  # fmt: skip
PLAIN = [
    "hdfs://host:8020/rows@2026", "file:///tmp/me@home/rows", "abfss://rows@account.dfs.core.windows.net/x",
    "http://[::1]:80/x@y", "https://host/x?design=blue&page=2", "me@corp.com", "hdfs://host:8020", "/tmp/a:b@c", "",
]  # fmt: skip


@pytest.mark.parametrize("uri", URIS)
def test_credentials_are_left_out(uri):
    text = masked(f"cannot read '{uri}', nor {uri} now")
    assert text == f"cannot read '{URIS[uri]}', nor {URIS[uri]} now" == masked(text)


@pytest.mark.parametrize("text", PLAIN)
def test_what_has_none_stays(text):
    assert masked(text) == text


@pytest.mark.parametrize("uri", list(URIS)[:3])
def test_nothing_tells_them(uri):
    history = History()
    history.add_event(3, f"no checkpoint: {uri} is gone")
    history.sessions.append({"step": 0, "name": _name(uri), "settings": plain({"checkpoint": uri})})
    history.end_session(Ending.of(1, 2, error=OSError(f"{uri} is gone")), 1)
    assert SECRET not in str(history.records) and SECRET not in Run(2, 1, history)._page()
    for error in (CheckpointError(uri), DataError(f"data: {uri}"), ColumnError(uri, "nulls")):
        assert SECRET not in str(error) and SECRET not in str(pickle.loads(pickle.dumps(error)))


def test_errors_about_a_folder_do_not_tell_them():
    """Not even the error of pyarrow that is behind them, which a traceback shows."""
    for made in (CheckpointFolder, lambda location: Store(location, {})):
        with pytest.raises(CheckpointError, match=r"nofs://\.\.\.@bucket") as caught:
            made(f"nofs://key:{SECRET}@bucket/run")
        assert SECRET not in repr((caught.value, caught.value.__cause__, caught.value.__cause__.__context__.__class__))
