"""The trained network as two files, which need nothing of this program to be read; ratings of new sentences."""

from pathlib import Path
from typing import Any

import fdl
import fdl_spark
from examples.text.program import Result
from fdl_spark import features

FUNCTION, ENCODERS = "network.safetensors", "encoders.json"
ROWS = 256  # that are computed at once


def save(result: Result, folder: str | Path) -> None:
    """Write the function with its parameters, and the encoder of texts."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    encode = result.encoders.without("rating", "source")
    example = encode.encode({"text": ["a sentence"] * ROWS})
    exported = fdl.export.export(result.network.apply, result.run.best.params, {"words": example["words"]})
    fdl.export.save(folder / FUNCTION, exported)
    encode.save(str(folder / ENCODERS))


def rate(frame: Any, folder: str | Path) -> Any:
    """A DataFrame with a column `rating` beside its column `text`, by the files of `save`; it may be a stream.

    Args:
      frame: a DataFrame with a column `text`.
      folder: of the files.
    """
    network = fdl.export.load(Path(folder) / FUNCTION)
    assert isinstance(network, fdl.export.Exported), network
    apply = network.apply
    encode = features.load(str(Path(folder) / ENCODERS))

    def rating(params: Any, batch: Any) -> Any:
        return apply(params, {"words": batch["words"]})  # the encoder makes a mask, too

    return fdl_spark.predict(rating, network.params, frame, "rating", features=encode, batch_size=ROWS)
