"""A convolutional network on handwritten digits, trained by Spark in four partitions.

Run: python examples/digits.py      # about a minute; saves digits.png
"""

import numpy
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fdl
import fdl.numpy as np
import fdl_spark
from fdl import nn, optim

PARTITIONS, BATCH, EPOCHS = 4, 128, 6


def init(key):
    """Parameters of two convolutions and two dense layers."""
    keys = fdl.random.split(key, 4)
    he = nn.initializers.he_normal()

    def layer(key, *shape):
        return {"w": he(key, shape), "b": np.zeros(shape[-1])}

    return {
        "conv1": layer(keys[0], 3, 3, 1, 16),
        "conv2": layer(keys[1], 3, 3, 16, 32),
        "dense1": layer(keys[2], 4 * 4 * 32, 64),
        "dense2": layer(keys[3], 64, 10),
    }


def apply(params, batch):
    """Logits (n, 10) of images (n, 64) with pixels between 0 and 1."""
    x = batch["image"].reshape(-1, 8, 8, 1)
    x = nn.relu(nn.conv(x, **params["conv1"]))
    x = nn.relu(nn.conv(x, **params["conv2"]))
    x = nn.max_pool(x, (2, 2), strides=(2, 2))
    x = nn.relu(nn.dense(x.reshape(len(x), -1), **params["dense1"]))
    return nn.dense(x, **params["dense2"])


def loss(params, batch):
    """Mean cross entropy."""
    return np.mean(nn.softmax_cross_entropy_with_integer_labels(apply(params, batch), batch["digit"]))


def accuracy(params, batch):
    """Share of right answers."""
    return np.mean(np.argmax(apply(params, batch), axis=-1) == batch["digit"])


def data():
    """(training, test): a quarter is held out; each training image comes also moved by a pixel in four directions."""
    digits = load_digits()
    images, held_images, labels, held_labels = train_test_split(
        (digits.images / 16).astype(numpy.float32),
        digits.target.astype(numpy.int32),
        test_size=0.25,
        stratify=digits.target,
        random_state=0,
    )
    moves = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
    moved = numpy.concatenate([numpy.roll(images, move, axis=(1, 2)) for move in moves])
    training = {"image": moved.reshape(-1, 64), "digit": numpy.tile(labels, len(moves))}
    return training, {"image": held_images.reshape(-1, 64), "digit": held_labels}


def main():
    """Train, print the test accuracy and plot the history."""
    training, test = data()
    spark = fdl_spark.session(f"local[{PARTITIONS}]")
    steps = EPOCHS * -(-len(training["digit"]) // BATCH)
    run = fdl_spark.train(
        loss,
        init(fdl.random.key(0)),
        training,
        optimizer=optim.adam(optim.cosine_decay_schedule(4e-3, steps)),
        batch_size=BATCH,
        epochs=EPOCHS,
        validation=test,
        metrics={"accuracy": accuracy},
        callbacks=[fdl_spark.Progress()],
    )
    result = fdl_spark.evaluate({"accuracy": accuracy}, run.params, test)
    run.history.plot("digits.png")
    print(f"history saved as digits.png; {spark.sparkContext.defaultParallelism} partitions")
    print(f"test accuracy {result['accuracy']:.4f}")


if __name__ == "__main__":
    main()
