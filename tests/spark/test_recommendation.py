"""`examples.recommendation` on ratings with a structure that can be learnt, and its parts against plain NumPy."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import fdl
from examples.recommendation.negatives import Seen, with_negatives
from examples.recommendation.program import best, plot, recommend, table
from examples.recommendation.split import drawing, leave_one_out
from examples.recommendation.task import RECIPES, Recipe, measured

USERS, ITEMS, TASTES = 60, 120, 4


def tastes(seed: int = 0) -> pa.Table:
    """Ratings of users who like a quarter of the items, which one by the last two bits of both numbers."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(USERS):
        liked = np.arange(user % TASTES, ITEMS, TASTES)
        for time, item in enumerate(rng.permutation(liked)[:22]):
            rows.append((100 + user, 3 * item, int(time)))
    user, item, time = np.array(rows)[rng.permutation(len(rows))].T
    return pa.table({"user": user, "item": item, "timestamp": time})


def test_the_last_rating_is_held_out() -> None:
    ratings = tastes()
    split = leave_one_out(ratings)
    assert (split.users, split.train.num_rows, split.held_out.num_rows) == (USERS, USERS * 21, USERS)
    films = np.unique(ratings["item"].to_numpy())
    rows = list(zip(*(ratings[name].to_numpy() for name in ("user", "item", "timestamp")), strict=True))
    for user, item, seen in zip(
        *(split.held_out[name].to_pylist() for name in split.held_out.column_names), strict=True
    ):
        of_user = [(time, name) for who, name, time in rows if who == 100 + user]
        assert films[item] == max(of_user)[1]
        assert sorted(films[seen]) == sorted(name for _, name in of_user)
        assert item not in split.train.filter(pa.compute.equal(split.train["user"], user))["item"].to_pylist()


def test_users_with_few_ratings_are_left_out() -> None:
    table = pa.table({"user": [1] * 19 + [2] * 20, "item": list(range(19)) + list(range(20)), "timestamp": [0] * 39})
    assert leave_one_out(table).users == 1


def test_lists_hold_what_was_not_seen_whatever_the_batches_are() -> None:
    split = leave_one_out(tastes())
    draw = drawing(split.items, 99, seed=3)
    (whole,) = draw(iter(split.held_out.to_batches()))
    parts = list(draw(iter(split.held_out.to_batches(max_chunksize=7))))
    assert pa.Table.from_batches([whole]) == pa.Table.from_batches(parts).combine_chunks()
    unseen = split.items - 22
    for row, seen, held in zip(
        whole["item"].to_pylist(), split.held_out["seen"].to_pylist(), split.held_out["item"].to_pylist(), strict=True
    ):
        drawn = row[1 : 1 + min(99, unseen)]
        assert row[0] == held and len(row) == 100
        assert len(set(drawn)) == len(drawn) and not set(drawn) & set(seen) and min(drawn) >= 0
        assert set(row[1 + len(drawn) :]) <= {-1}
    (other,) = drawing(split.items, 99, seed=4)(iter(split.held_out.to_batches()))
    assert other != whole


@pytest.mark.parametrize("bits", [1 << 28, 1 << 13])
def test_the_filter_never_misses_a_pair(bits: int) -> None:
    rng = np.random.default_rng(1)
    user, item = rng.integers(0, 300, 400, np.int32), rng.integers(0, 500, 400, np.int32)
    seen = Seen.of(user, item, 300, 500, bits)
    every = fdl.numpy.arange(300)[:, None], fdl.numpy.arange(500)
    found = np.asarray(seen(*every))
    assert found[user, item].all()
    pairs = len({*zip(user.tolist(), item.tolist(), strict=True)})
    if seen.exact:
        assert found.sum() == pairs
    else:  # Bloom's formula: two hashes of 400 pairs into 8192 bits
        assert (found.sum() - pairs) / found.size == pytest.approx((1 - np.exp(-800 / 8192)) ** 2, rel=0.25)


def test_negatives_are_even_and_never_rated() -> None:
    split = leave_one_out(tastes())
    user, item = (split.train[name].to_numpy() for name in ("user", "item"))
    augment = with_negatives(Seen.of(user, item, split.users, split.items), 4)
    rows = {"user": fdl.numpy.zeros(3000, "int32"), "item": fdl.numpy.full(3000, 8, "int32")}
    made = fdl.vmap(augment)(fdl.random.split(fdl.random.key(0), 3000), rows)
    lists = np.asarray(made["item"])
    assert lists.shape == (3000, 5) and (lists[:, 0] == 8).all()
    counts = np.bincount(lists[:, 1:].ravel(), minlength=split.items)
    rated = item[user == 0]
    assert counts[rated].sum() <= 0.001 * counts.sum()  # six tries failed: (21 / 120) ** 6 = 3e-5
    others = np.delete(counts, rated)
    expected = counts.sum() / len(others)
    assert ((others - expected) ** 2 / expected).sum() < len(others) + 5 * np.sqrt(2 * len(others))  # chi-square


def test_metrics_are_those_of_the_rank() -> None:
    scores = np.random.default_rng(2).permuted(np.arange(5 * 1000.0).reshape(5, 1000), axis=1).astype(np.float32)
    items = np.arange(1000, dtype=np.int32) * np.ones((5, 1), np.int32)
    batch = {"user": np.arange(5, dtype=np.int32), "item": items, "score": scores}
    found = measured(lambda params, batch, among: batch["score"][:, :among])
    for among in (1000, 100):
        rank = (scores[:, :among] > scores[:, :1]).sum(axis=1)
        assert found[f"HR@10 of {among}"](None, batch) == np.mean(rank < 10)
        gains = np.where(rank < 10, 1 / np.log2(rank + 2), 0)
        assert found[f"NDCG@10 of {among}"](None, batch) == pytest.approx(gains.mean(), rel=1e-12)


def test_it_learns_what_can_be_learnt(spark, tmp_path: Path) -> None:
    recipe = Recipe(factors=8, layers=(), samples=500, rate=0.05, epochs=4)  # GMF, which compiles in less time
    result = recommend(spark, tastes(), recipe, partitions=1, shards=2)
    name = "HR@10 of 100"
    assert result.baseline[name] < 0.4
    assert best(result, name)[0] > result.baseline[name] + 0.3
    assert "popularity" in table(result, "movielens-1m") and "0.705" in table(result, "movielens-1m")
    plot(result, "movielens-1m", tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000


def test_recipes_fit_the_published_sizes() -> None:
    recipe = RECIPES["movielens-20m"]  # of MLPerf 0.5
    assert (recipe.factors, recipe.layers, recipe.samples, recipe.negatives) == (64, (256, 256, 128, 64), 2048, 4)
