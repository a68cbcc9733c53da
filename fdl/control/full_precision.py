"""A call in which mixed precision changes nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fdl.control.call import Call
from fdl.control.higher import sample_program
from fdl.transforms.linearize import Split


class FullPrecision(Call):
    """A call of a Program that `nn.mixed_precision` leaves as it is; so are its derivatives."""

    def partial_eval(self, known: Sequence[Any], types: Sequence[Any]) -> Split:
        split = super().partial_eval(known, types)
        halves: list[Any] = [split.known, split.unknown]
        first, second = (FullPrecision(half.program, half.label) for half in halves)
        return replace(split, known=first, unknown=second)

    def samples(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        for program, operands in sample_program(rng):
            yield FullPrecision(program), *operands
