"""A character model: an LSTM (Hochreiter and Schmidhuber, 1997) written as one step and run over time by `lax.scan`.

Run: python examples/lstm.py
"""

import fdl
import fdl.numpy as np
from fdl import lax, nn, optim

TEXT = "the loop is a value, the step is a function, and time is an axis like any other. " * 4
ALPHABET = sorted(set(TEXT))
HIDDEN = 64


def init(key):
    """Parameters: one matrix for the four gates, one for the prediction."""
    gates, head = fdl.random.split(key)
    glorot = nn.initializers.glorot_uniform()
    return {
        "gates": glorot(gates, (len(ALPHABET) + HIDDEN, 4 * HIDDEN)),
        "bias": np.zeros(4 * HIDDEN).at[HIDDEN : 2 * HIDDEN].set(1.0),  # remember at first
        "head": glorot(head, (HIDDEN, len(ALPHABET))),
    }


def step(params, state, symbol):
    """One character: state (cell, hidden), symbol () int32 -> (state, logits over the next)."""
    cell, hidden = state
    inputs = np.concatenate([nn.one_hot(symbol, len(ALPHABET)), hidden])
    enter, keep, show, new = np.split(inputs @ params["gates"] + params["bias"], 4)
    cell = nn.sigmoid(keep) * cell + nn.sigmoid(enter) * np.tanh(new)
    hidden = nn.sigmoid(show) * np.tanh(cell)
    return (cell, hidden), hidden @ params["head"]


def zero_state():
    return np.zeros(HIDDEN), np.zeros(HIDDEN)


def loss(params, symbols):
    """Mean cross entropy of the next character, in nats; symbols (batch, time)."""

    def one(sequence):
        _, logits = lax.scan(lambda state, symbol: step(params, state, symbol), zero_state(), sequence[:-1])
        return -np.mean(np.sum(nn.log_softmax(logits) * nn.one_hot(sequence[1:], len(ALPHABET)), axis=-1))

    return np.mean(fdl.vmap(one)(symbols))


def continuation(params, start, length):
    """The most likely characters after `start`."""
    state = zero_state()
    for character in start:
        state, logits = step(params, state, ALPHABET.index(character))

    def next_one(carry, _):
        state, symbol = carry
        state, logits = step(params, state, symbol)
        return (state, np.argmax(logits)), symbol

    _, symbols = lax.scan(next_one, (state, np.argmax(logits)), length=length)
    return "".join(ALPHABET[int(symbol)] for symbol in symbols)


def main(steps=200):
    """Train on windows of the text, print the loss and a continuation; returns (loss, continuation)."""
    text = np.array([ALPHABET.index(character) for character in TEXT])
    windows = text[np.arange(0, len(TEXT) - 49, 5)[:, None] + np.arange(49)]
    params = init(fdl.random.key(0))
    optimizer = optim.adam(1e-2)
    state = optimizer.init(params)

    @fdl.jit
    def train(params, state):
        value, grads = fdl.value_and_grad(loss)(params, windows)
        updates, state = optimizer.update(grads, state, params)
        return optim.apply_updates(params, updates), state, value

    for iteration in range(steps):
        params, state, value = train(params, state)
        if iteration % 50 == 0:
            print(f"step {iteration}: {float(value):.3f} nats a character")
    said = continuation(params, "the step is", 40)
    print(f"step {steps}: {float(value):.3f}; the step is{said}")
    return float(value), said


if __name__ == "__main__":
    main()
