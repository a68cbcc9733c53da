"""Whole training steps of fdl and its peers."""

import importlib
import math
import tempfile

from benchmarks.team import Team

TOLERANCE = 1e-4
#: Of steps in 16 bits, which round at different places.
MIXED_TOLERANCE = 0.02
PLAIN = ["fdl", "torch", "torch.compile", "jax"]
IMAGES = ["fdl", "torch", "torch channels_last", "torch.compile channels_last", "jax"]
#: Frameworks by the name of the model's module; images are tried in both of PyTorch's memory formats.
MODELS = {
    "tiny": PLAIN,
    "mlp": PLAIN,
    "lenet": IMAGES,
    "resnet": IMAGES,
    "inception": IMAGES,
    "keywords": IMAGES,
    "lstm": PLAIN,
    "convlstm": IMAGES,
    "transformer": PLAIN,
    "per_example": PLAIN,
    "ncf": PLAIN,
    "ncf_lazy": ["fdl", "torch", "torch.compile"],
    # In mixed precision, against PyTorch's autocast.
    "resnet+bfloat16": ["fdl", "torch", "torch channels_last"],
    "inception+bfloat16": ["fdl", "torch", "torch channels_last"],
    "convlstm+bfloat16": ["fdl", "torch", "torch channels_last"],
    "transformer+bfloat16": ["fdl", "torch"],
}


def title(model: str) -> str:
    name, _, compute = model.partition("+")
    return ", ".join(filter(None, [importlib.import_module(f"benchmarks.{name}").TITLE, compute]))


def load(team: Team, model: str, limit: float) -> dict[str, dict]:
    """Have every worker build and try its step; those whose losses are not fdl's leave the team."""
    answers = team.each(f"model {model}", limit)
    ours, tolerance = answers["fdl"]["losses"], MIXED_TOLERANCE if "+" in model else TOLERANCE
    for worker in list(team.workers):
        theirs = answers[worker.name]["losses"]
        if not all(math.isclose(a, b, rel_tol=tolerance) for a, b in zip(ours, theirs, strict=True)):
            team.leave(worker, f"{worker.name}: losses {theirs}, fdl's {ours}")
            del answers[worker.name]
    return answers


def measure(
    model: str, counts: list[int], rounds: int, seconds: float, limit: float
) -> dict[int, dict[str, dict[str, float | str]]]:
    """Numbers of every framework, by number of threads.

    They are seconds of a step, bytes at the peak, and for the first number of threads seconds of the first call with an
    empty and with a warm disk cache; or the reason why there are none.
    """
    results: dict[int, dict[str, dict[str, float | str]]] = {}
    with tempfile.TemporaryDirectory() as cache:
        with Team(MODELS[model], counts[0], cache) as team:
            cold = {name: answer["first"] for name, answer in load(team, model, limit).items()}
            left_out = team.left_out
        for threads in counts:
            with Team([name for name in MODELS[model] if name not in left_out], threads, cache) as team:
                warm = load(team, model, limit)
                steps = team.alternate(warm, rounds, seconds)
                peaks = team.each("memory", limit)
            results[threads] = {name: {"step": steps[name], "peak": peaks[name]} for name in steps}
            if threads == counts[0]:
                for name in steps:
                    results[threads][name] |= {"cold": cold[name], "warm": warm[name]["first"]}
            for name, reason in (left_out | team.left_out).items():
                results[threads][name] = {"left out": reason}
    return results
