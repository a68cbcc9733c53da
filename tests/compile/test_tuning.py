"""Another tuning: other machine code under another key, and the same results."""

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

import fdl
from fdl.compile import pipeline
from fdl.compile.llvm import target
from fdl.compile.llvm.target import host_target
from fdl.compile.llvm.tuning import Tuning
from fdl.compile.runtime.cache import ObjectCache


def test_another_tuning_compiles_anew_and_gives_the_same_results(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    build, cache, made = pipeline.build_archive, ObjectCache(tmp_path), []
    monkeypatch.setattr(pipeline, "default_cache", lambda: cache)
    monkeypatch.setattr(pipeline, "build_archive", lambda *args: made.append(1) or build(*args))
    x = np.random.default_rng(0).normal(size=(640, 64)).astype(np.float32)
    program = fdl.make_program(fdl.nn.softmax)(x)
    ours, other = target.TUNING, replace(target.TUNING, tile_bytes=2000, tile_rows=1, small_body=1)
    results = []
    for tuning, compiled in ((ours, 1), (other, 2), (ours, 2), (other, 2)):
        monkeypatch.setattr(target, "TUNING", tuning)
        pipeline._compile.cache_clear()
        results.append(pipeline.compile_program(program).run([x])[0])
        assert len(made) == compiled
    pipeline._compile.cache_clear()
    # A row is computed in the same way, however many are in a tile.
    assert all(np.array_equal(results[0], result) for result in results)
    exact = np.exp(x.astype(np.float64))
    np.testing.assert_allclose(results[0], exact / exact.sum(1, keepdims=True), 1e-5)
    listed = set()
    for tuning in (ours, other):
        monkeypatch.setattr(target, "TUNING", tuning)
        listed.add(str(fdl.jit(fdl.nn.softmax).lower(x).as_text("schedule")))
    assert len(listed) == 2


def test_every_field_is_part_of_the_key() -> None:
    for field in fields(Tuning):
        value = getattr(target.TUNING, field.name)
        changed = replace(
            target.TUNING, **{field.name: (*value, 1) if isinstance(value, tuple) else value + type(value)(1)}
        )
        assert replace(host_target(), tuning=changed).key != host_target().key
