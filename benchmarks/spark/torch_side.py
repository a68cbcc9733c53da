"""The side of PyTorch: `TorchDistributor` in local mode, as its users start it.

Started as `python -m benchmarks.spark.torch_side FOLDER RANKS KIND DOOR`, where the kind is "torch" or "torch-dense";
the first rank answers as the side of fdl does.
"""

import sys
from pathlib import Path

from pyspark.ml.torch.distributor import TorchDistributor

import fdl_spark
from benchmarks.spark.work import SETTINGS


def main() -> None:
    """Run the ranks until they are told to stop."""
    folder, ranks, kind, door = sys.argv[1:]
    fdl_spark.session("local[2]", config=SETTINGS)
    distributor = TorchDistributor(num_processes=int(ranks), local_mode=True, use_gpu=False)
    distributor.run(str(Path(__file__).with_name("torch_rank.py")), folder, kind, door)


if __name__ == "__main__":
    main()
