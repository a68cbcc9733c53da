"""A driver to be killed or interrupted: trains with checkpoints, and prints each step and how it ended.

python driver_program.py FOLDER SYNC PARTITIONS LAST

After the step LAST it waits for the end of its input, so that whoever kills or interrupts it is never too late.
"""

import runpy
import sys
from pathlib import Path

import fdl_spark
from fdl import optim

HERE = runpy.run_path(str(Path(__file__).with_name("problem.py")))
STEPS = 40


class Told(fdl_spark.Callback):
    def __init__(self, last):
        self.last = last

    def start(self, run):
        print("from", run.step, flush=True)

    def step(self, run, record):
        print("step", record["step"], flush=True)
        if record["step"] == self.last:
            sys.stdin.read()


def train(problem, folder=None, **options):
    return fdl_spark.train(
        problem.loss,
        problem.params,
        problem.data,
        optimizer=optim.adam(0.02),
        batch_size=100,
        steps=STEPS,
        seed=11,
        shards=4,
        checkpoint=folder,
        checkpoint_steps=folder and 4,
        **options,
    )


def main(folder, sync, partitions, last):
    spark = fdl_spark.session("local[2]", config={"spark.ui.enabled": "false"})
    try:
        run = train(HERE["make_problem"](), folder, sync=sync, partitions=int(partitions), callbacks=[Told(int(last))])
        print("ended", run.step)
    except KeyboardInterrupt as interrupt:
        run = interrupt.run
        print("interrupted", run.step)
    print("digest", HERE["digest"](run.params))
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
