"""What a lowered call costs, as far as its Program tells."""

import fdl
import fdl.numpy as fnp


def test_cost_of_a_lowered_call():
    x = fnp.ones((8, 4))

    def f(x, w):
        return fdl.lax.scan(lambda c, _: (c @ w, None), x, None, length=5)[0] @ w

    lowered = fdl.jit(f).lower(x, fnp.ones((4, 4)))
    assert lowered.cost_analysis()["flops"] == 2 * 2 * 8 * 4 * 4  # the loop's product is counted once
    assert lowered.compile().cost_analysis() == lowered.cost_analysis()
    memory = lowered.compile().memory_analysis()
    assert (memory.argument_size_in_bytes, memory.output_size_in_bytes) == (4 * (32 + 16), 4 * 32)
    assert memory.temp_size_in_bytes >= 0


def test_results_in_the_memory_of_donated_arguments():
    w, g = fnp.ones(100), fnp.ones(100)

    def step(w, g):
        return w - g, (w * g).sum()

    assert fdl.jit(step).lower(w, g).compile().memory_analysis().alias_size_in_bytes == 0
    assert fdl.jit(step, donate_argnums=0).lower(w, g).compile().memory_analysis().alias_size_in_bytes == 400
