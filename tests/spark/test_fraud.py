"""`examples.fraud` on payments whose frauds can be told, and its parts against NumPy and scikit-learn."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics as reference

from examples.fraud.data import COMPONENTS, TEST, TRAIN, VALIDATION, payments, thinned
from examples.fraud.program import best_threshold, curve, detect, plot, scored, table
from examples.fraud.stream import through_a_stream

ROWS, FRAUDS = 3000, 90


def made(seed: int = 0) -> pa.Table:
    """Payments; those of frauds are a few deviations away in two components."""
    rng = np.random.default_rng(seed)
    fraud = np.zeros(ROWS, np.int32)
    fraud[rng.choice(ROWS, FRAUDS, replace=False)] = 1
    components = rng.normal(size=(len(COMPONENTS), ROWS))
    components[:2] += 3.0 * fraud
    columns = {"time": np.sort(rng.uniform(0, 172_800, ROWS)), **dict(zip(COMPONENTS, components, strict=True))}
    return pa.table(columns | {"amount": rng.exponential(80.0, ROWS), "fraud": fraud})


def test_parts_are_in_time_or_drawn(spark) -> None:
    rows = {number: share * ROWS for number, share in ((TRAIN, 0.6), (VALIDATION, 0.2), (TEST, 0.2))}
    for by in ("time", "rows"):
        found = payments(spark, made(), by).select("row", "part").collect()
        parts = {number: [row.row for row in found if row.part == number] for number in rows}
        assert {number: len(part) for number, part in parts.items()} == rows
        assert (max(parts[TRAIN]) < min(parts[VALIDATION]) < min(parts[TEST])) == (by == "time")


def test_negatives_are_thinned_alike_on_any_partitions(spark) -> None:
    frame = payments(spark, made())
    kept = [sorted(map(tuple, thinned(f, 5).select("row", "weight").collect())) for f in (frame, frame.repartition(3))]
    assert kept[0] == kept[1]
    of_train = [(row, weight) for row, weight in kept[0] if row < 0.6 * ROWS]
    assert len(kept[0]) - len(of_train) == 0.4 * ROWS  # which are not trained on
    negatives = sum(weight == 5 for _, weight in of_train)
    assert abs(negatives - 0.6 * (ROWS - FRAUDS) / 5) < 5 * np.sqrt(0.6 * ROWS * 0.2 * 0.8)
    fraud = made()["fraud"].to_numpy()
    assert {row for row, weight in of_train if weight == 1} == set(np.flatnonzero(fraud[: int(0.6 * ROWS)]))
    assert kept[0] != sorted(map(tuple, thinned(frame, 5, seed=1).select("row", "weight").collect()))


def test_the_curve_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    scores, label = rng.integers(1, 30, 300) / 30, rng.integers(0, 2, 300)
    thresholds, precision, recall = curve(scores, label)
    expected = reference.precision_recall_curve(label, scores)
    np.testing.assert_allclose(precision[::-1], expected[0][:-1])
    np.testing.assert_allclose(recall[::-1], expected[1][:-1])
    np.testing.assert_array_equal(thresholds[::-1], expected[2])
    values = [reference.f1_score(label, scores >= threshold) for threshold in thresholds]
    found = best_threshold(scores, label)
    assert reference.f1_score(label, scores > found) == max(values) and found not in scores


def test_frauds_are_found(spark, tmp_path: Path) -> None:
    result = detect(spark, made(), epochs=8, batch_size=32, trees=0, kinds=("weighted",), partitions=1, shards=1)
    assert 0.01 < result.chance[1] < 0.06 and sum(result.frauds) == FRAUDS
    assert list(result.test) == ["perceptron, weighted", "autoencoder", "logistic regression"]
    for name in ("perceptron, weighted", "logistic regression"):
        assert result.test[name] > 0.5, name
    for name, scores in result.scores.items():
        if name != "label":
            expected = reference.average_precision_score(result.scores["label"], scores.astype(np.float32))
            assert result.test[name] == pytest.approx(expected, rel=1e-6)
    assert "chance" in table(result)
    plot(result, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    best = result.models[result.best]
    scores, label = scored(result.best, best, payments(spark, made()).where(f"part = {TEST}"))
    alarms = scores > result.threshold
    assert result.chosen["precision"] == label[alarms].mean()
    found = through_a_stream(spark, result, made(), "time", 0, str(tmp_path / "pipeline"), str(tmp_path))
    assert found[1] == pytest.approx(result.chosen["recall"] * result.frauds[2])
    assert found[0] == pytest.approx(found[1] / result.chosen["precision"])
