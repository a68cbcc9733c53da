"""Trains the small problem on another master, and prints the digest of the parameters.

python cluster_program.py MASTER
"""

import runpy
import sys
from pathlib import Path

import fdl_spark
from fdl import optim

HERE = runpy.run_path(str(Path(__file__).with_name("problem.py")))


def main(master):
    spark = fdl_spark.session(master, config={"spark.ui.enabled": "false"})
    problem = HERE["make_problem"]()
    run = fdl_spark.train(
        problem.loss,
        problem.params,
        problem.data,
        optimizer=optim.adam(0.02),
        batch_size=100,
        steps=7,
        seed=11,
        shards=4,
    )
    print("java", spark.sparkContext._jvm.java.lang.System.getProperty("java.home"))
    print("digest", HERE["digest"](run.params))
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1])
