"""Rows that are changed on their way: the same in every epoch whatever partitions, shards and batches are."""

import numpy as np
import pytest

import fdl
import fdl.numpy as fnp
from fdl import optim
from fdl_spark.errors import LossError, MissingColumnError, UserFunctionError

ROWS = 30
DATA = {"x": np.arange(ROWS, dtype=np.float32), "item": np.arange(ROWS, dtype=np.int32) % 7}
SETTINGS = {"optimizer": optim.sgd(1.0), "batch_size": 8, "seed": 6}


def noisy(key, row):
    return {"x": row["x"] + fdl.random.uniform(key, maxval=0.5)}


def seen(train_here, epochs=1, **settings):
    """The row as the loss has seen it in each epoch: parameter r is what the rows with that number were."""

    def loss(params, batch):
        places = fnp.floor(batch["x"]).astype(np.int32)
        return (params[places] * batch["x"]).sum()

    # The gradient of a row is its value, times its part of the sum of a batch: rows / batch.
    run = train_here(
        loss,
        np.zeros(ROWS, np.float32),
        DATA,
        augment=noisy,
        epochs=epochs,
        **{**SETTINGS, "batch_size": ROWS, **settings},
    )
    return -np.asarray(run.params) * settings.get("shards", 1)


@pytest.mark.parametrize("shards", [2, 5])
def test_a_row_is_changed_in_the_same_way_in_any_shard(train_here, shards):
    one, other = seen(train_here), seen(train_here, shards=shards)
    np.testing.assert_allclose(one, other, rtol=1e-6)
    key = fdl.random.key(SETTINGS["seed"])
    key = fdl.random.fold_in(fdl.random.fold_in(key, 2**32 - 1), 0)
    for row in (0, 1, 29):
        expected = row + float(fdl.random.uniform(fdl.random.fold_in(key, row), maxval=0.5))
        np.testing.assert_allclose(one[row], expected, rtol=1e-6)
    assert len({round(float(value), 6) for value in one - np.arange(ROWS)}) == ROWS


def test_each_epoch_changes_rows_anew(train_here):
    first, both = seen(train_here), seen(train_here, epochs=2)
    assert (np.abs(both - 2 * first) > 1e-4).sum() > ROWS - 3


@pytest.mark.parametrize("partitions", [2, 4])
def test_same_bits_on_any_partitions(train_here, digest, partitions):
    def loss(w, batch):
        return fnp.mean((w - batch["x"]) ** 2)

    runs = [
        train_here(loss, np.zeros(2, np.float32)[0], DATA, augment=noisy, epochs=2, shards=4, partitions=n, **SETTINGS)
        for n in (1, partitions)
    ]
    assert digest(runs[0].params) == digest(runs[1].params)


def with_negatives(key, row):
    """One positive row becomes 1 + 3 examples."""
    negatives = fdl.random.randint(key, (3,), 0, 7)
    return {"item": fnp.concatenate([row["item"][None], negatives]), "label": fnp.array([1.0, 0.0, 0.0, 0.0])}


def ranked(params, batch):
    """Takes rows as they are read, or with negatives: any number of examples a row."""
    items = batch["item"].reshape(-1)
    labels = batch.get("label", fnp.ones_like(batch["item"], dtype=np.float32)).reshape(-1)
    return fnp.mean((params["table"][items].sum(axis=-1) - labels) ** 2)


@pytest.mark.parametrize("sparse", [False, True])
def test_negative_sampling(train_here, digest, sparse):
    """Also of tables whose gradients are rows: a negative's row is caught up before it is read."""
    params = {"table": np.ones((7, 2), np.float32)}
    optimizer = optim.adam(0.1, sparse={"table": True}) if sparse else optim.adam(0.1)
    settings = {**SETTINGS, "optimizer": optimizer, "augment": with_negatives, "epochs": 3, "shards": 4}
    runs = [train_here(ranked, params, DATA, partitions=n, validation=DATA, **settings) for n in (1, 4)]
    assert digest(runs[0].params) == digest(runs[1].params)
    assert runs[0].history.loss[-1] < 0.5 * runs[0].history.loss[0]
    # The validation has no negatives: the plain mean over its rows.
    table = np.asarray(runs[0].params["table"], float).sum(axis=1)
    expected = np.mean((table[DATA["item"]] - 1) ** 2)
    np.testing.assert_allclose(runs[0].history.epochs[-1]["validation"]["loss"], expected, rtol=1e-4)


def test_mistakes(train_here):
    start, settings = np.zeros(2, np.float32)[0], {**SETTINGS, "steps": 1}
    with pytest.raises(MissingColumnError, match="augment asked for column 'y'"):
        train_here(lambda w, batch: w, start, DATA, augment=lambda key, row: row["y"], **settings)
    with pytest.raises(UserFunctionError, match="augment, traced on a batch of"):
        train_here(lambda w, batch: w, start, DATA, augment=lambda key, row: {"x": row["x"].reshape(2)}, **settings)
    with pytest.raises(MissingColumnError, match="the loss asked for column 'item'"):
        train_here(lambda w, batch: w * batch["item"].mean(), start, DATA, augment=noisy, **settings)
    with pytest.raises(LossError, match="must return one floating-point number"):
        train_here(lambda w, batch: w * batch["x"], start, DATA, augment=noisy, **settings)
