"""A convolutional network on handwritten digits, trained by Spark in two partitions.

Run: python examples/digits.py      # less than a minute; saves digits.png
"""

import numpy
import pyarrow
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fdl
import fdl.numpy as np
import fdl_spark
from fdl import nn, optim

PARTITIONS, BATCH, STEPS = 2, 256, 162  # six times through the data


def init(key):
    """Parameters of two convolutions and two dense layers."""
    keys = fdl.random.split(key, 4)
    he = nn.initializers.he_normal()
    return {
        "conv1": nn.init_conv(keys[0], 1, 16, (3, 3), w_init=he),
        "conv2": nn.init_conv(keys[1], 16, 32, (3, 3), w_init=he),
        "dense1": nn.init_dense(keys[2], 4 * 4 * 32, 64, w_init=he),
        "dense2": nn.init_dense(keys[3], 64, 10),
    }


def apply(params, batch):
    """Logits (n, 10) of images (n, 64) with pixels between 0 and 1."""
    x = batch["image"].reshape(-1, 8, 8, 1)
    x = nn.relu(nn.conv(params["conv1"], x))
    x = nn.relu(nn.conv(params["conv2"], x))
    x = nn.max_pool(x, (2, 2), strides=(2, 2))
    x = nn.relu(nn.dense(params["dense1"], x.reshape(len(x), -1)))
    return nn.dense(params["dense2"], x)


def loss(params, batch):
    """Mean cross entropy."""
    return np.mean(nn.softmax_cross_entropy_with_integer_labels(apply(params, batch), batch["digit"]))


def accuracy(params, batch):
    """Share of right answers."""
    return np.mean(np.argmax(apply(params, batch), axis=-1) == batch["digit"])


def frames(spark):
    """(training, test) DataFrames of image and digit: a quarter held out, training images also moved by a pixel."""
    digits = load_digits()
    images, held_images, labels, held_labels = train_test_split(
        digits.images / 16, digits.target, test_size=0.25, stratify=digits.target, random_state=0
    )
    moves = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
    moved = numpy.concatenate([numpy.roll(images, move, axis=(1, 2)) for move in moves])

    def frame(images, labels):
        rows = {"image": list(images.reshape(-1, 64).astype(numpy.float32)), "digit": labels.astype(numpy.int32)}
        return spark.createDataFrame(pyarrow.table(rows))  # in as many partitions as there are cores

    return frame(moved, numpy.tile(labels, len(moves))), frame(held_images, held_labels)


def main():
    """Train, plot the history and print the test accuracy."""
    spark = fdl_spark.session(f"local[{PARTITIONS}]")
    training, test = frames(spark)
    run = fdl_spark.train(
        loss,
        init(fdl.random.key(0)),
        training,
        optimizer=optim.adam(optim.cosine_decay_schedule(5e-3, STEPS)),
        batch_size=BATCH,
        steps=STEPS,
        validation=test,
        metrics={"accuracy": accuracy},
        callbacks=[fdl_spark.Progress()],
    )
    run.history.plot("digits.png")
    print(f"trained on {PARTITIONS} partitions; history plotted in digits.png")
    print(f"test accuracy {run.history.epochs[-1]['validation']['accuracy']:.4f}")


if __name__ == "__main__":
    main()
