"""Words a second: what `examples.speech` computes of each record of its stream, against the same in PyTorch.

    python -m benchmarks.speech --threads 1
    python -m benchmarks.speech --threads 2 --batch 256

Both sides take samples [batch, 8000] of float32 and give each word's class and probability: log-mel spectrogram,
normalisation, DS-CNN with the same weights and running statistics. 32 is the batch of the stream, and 1 the number of
threads of a task. PyTorch's spectrogram is `torch.stft` and a product with the same bands, in inference mode, with
channels first or last, whichever is faster. The results are compared before anything is timed; blocks alternate, and
medians are compared.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import fdl
from examples.data.speech import RATE
from examples.speech.task import (
    CONFIG,
    DEPTH,
    FLOOR,
    HIGH,
    HOP,
    LOW,
    MELS,
    SAMPLES,
    SPEECH,
    WINDOW,
    classify,
)
from fdl import audio, random
from fdl.models import ds_cnn


def model() -> tuple[Any, Any]:
    """Parameters and statistics as after training: no scale is 1, no shift is 0."""
    rng = np.random.default_rng(0)
    params, state = fdl.tree.map(np.asarray, ds_cnn.init(random.key(0), CONFIG))
    changed = fdl.tree.map(lambda x: (x + rng.uniform(0.0, 0.3, x.shape)).astype(np.float32), (params, state))
    convs = [one["conv"]["w"] for one in _convs(params)]
    for kept, one in zip(convs, _convs(changed[0]), strict=True):
        one["conv"]["w"] = kept
    return changed


def _convs(params: Any) -> list[Any]:
    return [params["stem"], *(block[name] for block in params["blocks"] for name in ("depthwise", "pointwise"))]


def torch_side(torch: Any, params: Any, state: Any, layout: str) -> Callable[[Any], tuple[Any, Any]]:
    """Samples [batch, samples] -> (classes, probabilities), in PyTorch's operations."""
    F = torch.nn.functional
    memory = torch.channels_last if layout == "last" else torch.contiguous_format
    window = torch.hann_window(WINDOW)
    bands = torch.tensor(audio.mel_bands(RATE, WINDOW, MELS, LOW, HIGH).astype(np.float32))
    convs, stats = _convs(params), _convs(state)
    weights = [torch.tensor(one["conv"]["w"].transpose(3, 2, 0, 1).copy()).to(memory_format=memory) for one in convs]
    norms = [
        [torch.tensor(np.asarray(array)) for array in (
            two["norm"]["mean"], two["norm"]["var"], one["norm"]["w"], one["norm"]["b"]
        )]
        for one, two in zip(convs, stats, strict=True)
    ]  # fmt: skip
    biases = [torch.tensor(one["conv"]["b"]) for one in convs]
    out = torch.tensor(params["out"]["w"].T.copy()), torch.tensor(params["out"]["b"])

    def conv(x: Any, place: int, **options: Any) -> Any:
        x = F.conv2d(x, weights[place], biases[place], **options)
        mean, variance, scale, shift = norms[place]
        return F.relu(F.batch_norm(x, mean, variance, scale, shift, False, eps=1e-5))

    def padded(x: Any, window: tuple[int, int], strides: tuple[int, int]) -> Any:
        """Zeros around x for what is "SAME" elsewhere: with strides, more of them behind than before."""
        sides = []
        for extent, length, stride in reversed(list(zip(x.shape[2:], window, strides, strict=True))):
            total = max((-(-extent // stride) - 1) * stride + length - extent, 0)
            sides += [total // 2, total - total // 2]
        return F.pad(x, sides)

    def apply(samples: Any) -> tuple[Any, Any]:
        with torch.inference_mode():
            scaled = samples / (samples.abs().amax(-1, keepdim=True) + 1e-6)
            spectrum = torch.stft(scaled, WINDOW, HOP, window=window, center=False, return_complex=True)
            power = spectrum.real**2 + spectrum.imag**2
            mel = torch.log(torch.clamp(power.transpose(1, 2) @ bands, min=FLOOR))
            below = torch.clamp(mel - mel.amax((1, 2), keepdim=True), min=-DEPTH)
            speech = (below.amax(2, keepdim=True) > -SPEECH).float()
            frames = speech.sum(1, keepdim=True)
            centred = below - (below * speech).sum(1, keepdim=True) / frames
            variance = (centred**2 * speech).sum((1, 2), keepdim=True) / (frames * MELS)
            x = (centred / (variance.sqrt() + 0.3))[:, None].to(memory_format=memory)
            x = conv(padded(x, (10, 4), CONFIG.strides), 0, stride=CONFIG.strides)
            for block in range(CONFIG.depth):
                strides = (1, 1) if block else CONFIG.second
                x = conv(padded(x, (3, 3), strides), 1 + 2 * block, stride=strides, groups=CONFIG.width)
                x = conv(x, 2 + 2 * block)
            probability, word = torch.softmax(F.linear(x.mean((2, 3)), *out), -1).max(-1)
        return word, probability

    return apply


def block(call: Callable[[], Any], seconds: float) -> float:
    """Calls a second, over so many seconds."""
    began, calls = time.perf_counter(), 0
    while time.perf_counter() < began + seconds:
        call()
        calls += 1
    return calls / (time.perf_counter() - began)


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speech", description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a block")
    given = parser.parse_args()
    import torch

    torch.set_num_threads(given.threads)
    fdl.set_num_threads(given.threads)
    params, state = model()
    rng = np.random.default_rng(1)
    time_axis = np.arange(SAMPLES) / RATE
    tones = np.sin(2 * np.pi * rng.uniform(100, 3000, (given.batch, 1)) * time_axis) * (time_axis < 0.6)
    samples = (0.2 * tones + 0.02 * rng.normal(size=tones.shape)).astype(np.float32)
    own = fdl.jit(classify)

    def ours() -> Any:
        return fdl.tree.map(np.asarray, own((params, state), {"sound": samples}))

    theirs = {layout: torch_side(torch, params, state, layout) for layout in ("first", "last")}
    tensor = torch.from_numpy(samples)
    found = ours()
    for apply in theirs.values():
        word, probability = (x.numpy() for x in apply(tensor))
        np.testing.assert_allclose(found["probability"], probability, atol=2e-5)
        np.testing.assert_array_equal(found["word"], word)
    calls = {layout: partial(apply, tensor) for layout, apply in theirs.items()}
    for call in calls.values():
        block(call, given.seconds)
    layout = max(calls, key=lambda name: block(calls[name], given.seconds))
    block(ours, given.seconds)
    rates: list[list[float]] = [[], []]
    for _ in range(given.rounds):
        rates[0].append(block(ours, given.seconds) * given.batch)
        rates[1].append(block(calls[layout], given.seconds) * given.batch)
    mine, other = (statistics.median(rate) for rate in rates)
    ratios = [a / b for a, b in zip(*rates, strict=True)]
    print(f"batch {given.batch}, {given.threads} threads, {given.rounds} blocks of {given.seconds} s each, alternating")
    print(f"fdl     {mine:10,.0f} words/s")
    print(f"torch   {other:10,.0f} words/s   {torch.__version__}, channels {layout}")
    print(f"ratio   {mine / other:10.2f}           rounds from {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
