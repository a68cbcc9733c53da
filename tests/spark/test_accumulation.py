"""Gradients of pieces of a shard: those of all rows at once but for rounding, the same bits on any partitions."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import optim
from fdl_spark.compute.recipe import Recipe
from fdl_spark.errors import ArgumentError

RANDOM = np.random.default_rng(9)
DATA = {"x": RANDOM.standard_normal((50, 6)).astype(np.float32), "w": RANDOM.uniform(0, 2, 50).astype(np.float32)}
PARAMS = {"w": (RANDOM.standard_normal((6, 3)) / 2).astype(np.float32)}
SETTINGS = {"optimizer": optim.adam(0.02), "batch_size": 24, "shards": 2, "seed": 1, "epochs": 3}


def loss(params, batch):
    return fnp.mean(fnp.tanh(batch["x"] @ params["w"]) ** 2), {"size": fnp.mean(fnp.abs(batch["x"]))}


def of_rows(params, batch):
    return fnp.mean(fnp.tanh(batch["x"] @ params["w"]) ** 2, axis=1)


@pytest.mark.parametrize(("function", "changes"), [(loss, {}), (of_rows, {"weights": "w"})])
def test_pieces_add_up_to_the_whole(train_here, digest, function, changes):
    """Metrics and weighted means too; 12 rows are three pieces of one shape."""
    shapes = set()

    def watched(params, batch):
        shapes.add(batch["x"].shape[0])
        return function(params, batch)

    settings = {**SETTINGS, **changes}
    whole = train_here(function, PARAMS, DATA, **settings)
    pieces = [train_here(watched, PARAMS, DATA, microbatch=5, partitions=n, **settings) for n in (1, 2)]
    assert digest(pieces[0].params) == digest(pieces[1].params)
    for one, other in zip(whole.history.steps, pieces[0].history.steps, strict=True):
        assert one["rows"] == other["rows"]
        for name in ("loss", *(("size",) if function is loss else ("loss_weight",))):
            np.testing.assert_allclose(one[name], other[name], rtol=1e-5)
    np.testing.assert_allclose(whole.params["w"], pieces[0].params["w"], rtol=1e-4, atol=1e-6)
    assert shapes - {12} == {4}  # what is compiled ahead of 12 rows, which the check has traced


def test_one_piece_is_all_rows(train_here, digest):
    runs = [train_here(loss, PARAMS, DATA, microbatch=size, **SETTINGS) for size in (None, 12, 1000)]
    assert len({digest(run.params) for run in runs}) == 1


def test_pieces_have_keys_of_their_own(train_here):
    """Of a step of two shards in three pieces each: six different draws."""

    def noise(params, batch, key):
        return (params["w"] ** 2).sum(), {"draw": fdl.random.uniform(key)}

    one, other = (train_here(noise, PARAMS, DATA, microbatch=4, partitions=n, **SETTINGS) for n in (1, 2))
    assert [step["draw"] for step in one.history.steps] == [step["draw"] for step in other.history.steps]
    key = fdl.random.key(SETTINGS["seed"])
    draws = [
        fdl.random.uniform(fdl.random.fold_in(fdl.random.fold_in(fdl.random.fold_in(key, 0), shard), piece))
        for shard in (0, 1)
        for piece in (0, 1, 2)
    ]
    np.testing.assert_allclose(one.history.steps[0]["draw"], np.mean(draws, dtype=float), rtol=1e-6)


def test_tables_in_pieces(train_here, digest):
    """Rows of tables are added up as dense gradients are."""
    table = {"table": np.ones((9, 2), np.float32)}
    data = {"item": (np.arange(50) % 9).astype(np.int32)}

    def lookup(params, batch):
        return fnp.mean((params["table"][batch["item"]].sum(axis=1) - batch["item"]) ** 2)

    dense, sparse = (
        train_here(lookup, table, data, microbatch=5, **{**SETTINGS, "optimizer": optimizer})
        for optimizer in (optim.adam(0.1), optim.adam(0.1, sparse={"table": True}))
    )
    assert digest(dense.params) == digest(sparse.params)


def test_pieces_differ_by_one_row():
    for microbatch in range(1, 12):
        for rows in range(40):
            sizes = [piece.stop - piece.start for piece in Recipe(microbatch=microbatch).pieces(rows)]
            assert sum(sizes) == rows
            assert len(sizes) == -(-rows // microbatch)
            assert max(sizes, default=0) - min(sizes, default=0) <= 1 and max(sizes, default=0) <= microbatch


def test_mistakes(train_here):
    for value in (0, 2.5, True):
        with pytest.raises(ArgumentError, match="microbatch must be"):
            train_here(loss, PARAMS, DATA, microbatch=value, **SETTINGS)
