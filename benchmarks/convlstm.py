"""A ConvLSTM encoder-forecaster: 10 frames of moving digits in, 10 out, two layers of 64 channels, Adam.

Shi et al., "Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting", 2015, section 4.1:
64x64 frames as 16x16 patches of 4x4 pixels, 3x3 kernels; the forecaster starts from the encoder's states, has no input,
and a 1x1 convolution reads its layers. A layer convolves its inputs of all steps at once.
"""

from types import ModuleType

import numpy as np

from benchmarks import arrays, functional, pytorch

TITLE = "ConvLSTM 2 x 64, 10 + 10 frames, batch 4"
BATCH, LENGTH, SIZE, PATCH, HIDDEN, DEPTH = 4, 10, 16, 16, 64, 2
RATE = 1e-3


def inputs(batch: int = BATCH) -> tuple[dict, tuple]:
    """(parameters, batch) as NumPy arrays: frames (time, sequence, height, width, channel)."""
    rng = np.random.default_rng(0)

    def layer(channels: int) -> dict:
        gates = {"inner": arrays.normal(rng, 0.03, 3, 3, HIDDEN, 4 * HIDDEN), "b": np.zeros(4 * HIDDEN, np.float32)}
        if channels:
            gates["outer"] = arrays.normal(rng, 0.05, 3, 3, channels, 4 * HIDDEN)
        return gates

    params = {
        "encoder": [layer(PATCH), layer(HIDDEN)],
        "forecaster": [layer(0), layer(HIDDEN)],
        "head": arrays.layer(rng, 1, 1, DEPTH * HIDDEN, PATCH),
    }
    frames = (rng.random((2, LENGTH, batch, SIZE, SIZE, PATCH)) < 0.1).astype(np.float32)
    return params, (frames[0].copy(), frames[1].copy())


def functional_loss(xp: ModuleType):
    """loss(params, batch) for fdl or jax."""
    numpy, nn = xp.numpy, xp.nn

    def layer(x, p, state):
        """Outputs of all steps and the last state."""
        gates = p["b"]
        if x is not None:
            steps, batch, *rest = x.shape
            y = functional.conv(xp, x.reshape(steps * batch, *rest), p["outer"]) + p["b"]
            gates = y.reshape(steps, batch, *y.shape[1:])

        def cell(state, given):
            hidden, memory = state
            both = functional.conv(xp, hidden, p["inner"]) + (gates if given is None else given)
            enter, keep, new, show = numpy.split(both, 4, axis=-1)
            memory = nn.sigmoid(keep) * memory + nn.sigmoid(enter) * numpy.tanh(new)
            hidden = nn.sigmoid(show) * numpy.tanh(memory)
            return (hidden, memory), hidden

        state, outputs = xp.lax.scan(cell, state, None if x is None else gates, length=LENGTH)
        return outputs, state

    def loss(params, batch):
        seen, wanted = batch
        zeros = numpy.zeros((*seen.shape[1:4], HIDDEN), "float32")
        x, states = seen, []
        for p in params["encoder"]:
            x, state = layer(x, p, (zeros, zeros))
            states.append(state)
        x, outputs = None, []
        for p, state in zip(params["forecaster"], states, strict=True):
            x, _ = layer(x, p, state)
            outputs.append(x)
        x = numpy.concatenate(outputs, axis=-1)
        logits = x @ params["head"]["w"][0, 0] + params["head"]["b"]
        return numpy.mean(nn.softplus(logits) - wanted * logits)

    return loss


def functional_optimizer(xp: ModuleType):
    return functional.adam(xp, RATE)


def torch_inputs(torch: ModuleType, channels_last: bool) -> tuple[dict, tuple]:
    params, frames = inputs()
    seen, wanted = (pytorch.images(torch, f.reshape(-1, SIZE, SIZE, PATCH), channels_last) for f in frames)
    return pytorch.leaves(torch, params, channels_last), (seen, wanted)


def torch_loss(torch: ModuleType, channels_last: bool):
    F = torch.nn.functional

    def layer(x, params, name, state):
        gates = [None] * LENGTH
        if x is not None:
            gates = F.conv2d(x, params[name + ".outer"], params[name + ".b"], padding=1).chunk(LENGTH)
        hidden, memory = state
        outputs = []
        for given in gates:
            if given is None:
                both = F.conv2d(hidden, params[name + ".inner"], params[name + ".b"], padding=1)
            else:
                both = F.conv2d(hidden, params[name + ".inner"], padding=1) + given
            enter, keep, new, show = both.chunk(4, 1)
            memory = torch.sigmoid(keep) * memory + torch.sigmoid(enter) * torch.tanh(new)
            hidden = torch.sigmoid(show) * torch.tanh(memory)
            outputs.append(hidden)
        return torch.cat(outputs), (hidden, memory)

    def loss(params, batch):
        seen, wanted = batch
        memory_format = torch.channels_last if channels_last else torch.contiguous_format
        zeros = torch.zeros(len(seen) // LENGTH, HIDDEN, SIZE, SIZE).contiguous(memory_format=memory_format)
        x, states = seen, []
        for i in range(DEPTH):
            x, state = layer(x, params, f"encoder.{i}", (zeros, zeros))
            states.append(state)
        x, outputs = None, []
        for i in range(DEPTH):
            x, _ = layer(x, params, f"forecaster.{i}", states[i])
            outputs.append(x)
        logits = F.conv2d(torch.cat(outputs, 1), params["head.w"], params["head.b"])
        return F.binary_cross_entropy_with_logits(logits, wanted)

    return loss


def torch_optimizer(torch: ModuleType, leaves: list):
    return pytorch.adam(torch, leaves, RATE)
