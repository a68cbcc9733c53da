"""What a detector has to beat: the mean digits of the training scenes, looked for at all places in a few sizes.

Source: Lewis, "Fast normalized cross-correlation", 1995. Its absolute value is the score, as digits are lighter or
darker than what is around them.
"""

from typing import Any

import numpy as np

import fdl.numpy as fnp
from examples.image_pipeline.scenes import SIZE, Material
from examples.image_pipeline.task import DIGITS
from fdl import lax, nn, vmap

SHRINK = 2  # scenes are made so many times smaller
SIDES = (13, 17, 21, 26)  # of templates, in pixels of these


def templates(material: Material) -> list[dict[str, np.ndarray]]:
    """By size the patterns (side, side, 1, DIGITS), zero on average and of length one, and half the digits' sides."""
    from PIL import Image

    found = []
    for side in SIDES:
        sums, halves = np.zeros((DIGITS, side, side)), np.zeros((DIGITS, 2))
        for digit in range(DIGITS):
            mine = np.flatnonzero(material.labels == digit)[:200]
            for n in mine:
                image = Image.fromarray(material.digits[n])
                scale = side / max(image.size)
                width, height = (max(1, round(extent * scale)) for extent in image.size)
                top, left = (side - height) // 2, (side - width) // 2
                sums[digit, top : top + height, left : left + width] += np.asarray(image.resize((width, height)))
                halves[digit] += np.array([width, height]) / 2 / len(mine)
        sums -= sums.mean(axis=(1, 2), keepdims=True)
        sums /= np.sqrt((sums**2).sum(axis=(1, 2), keepdims=True)) + 1e-9
        pattern = sums.transpose(1, 2, 0)[:, :, None].astype(np.float32)
        found.append({"pattern": pattern, "half": (halves * SHRINK / SIZE).astype(np.float32)})
    return found


def match(params: Any, batch: Any, count: int = 40) -> Any:
    """Boxes, scores and classes, as `task.detect` gives them, of the places that are most like a template."""
    grey = fnp.mean(batch["image"].astype(fnp.float32), axis=-1, keepdims=True)
    grey = nn.avg_pool(grey, SHRINK)
    boxes, scores = [], []
    for one in params:
        side = one["pattern"].shape[0]
        ones = fnp.ones((side, side, 1, 1))

        def over(x: Any, kernel: Any) -> Any:
            return nn.conv({"w": kernel}, x, padding="VALID")

        total, squares = over(grey, ones), over(grey * grey, ones)
        length = fnp.sqrt(fnp.maximum(squares - total * total / side**2, 1.0))
        found = fnp.abs(over(grey, one["pattern"])) / length
        rows, places = found.shape[0], found.shape[1]
        scores.append(found.reshape(rows, places * places, DIGITS))
        at = (fnp.arange(places) + side / 2) * SHRINK / SIZE
        centres = fnp.stack(fnp.meshgrid(at, at), axis=-1).reshape(-1, 1, 2)
        boxes.append(fnp.concatenate([centres - one["half"], centres + one["half"]], axis=-1))
    candidates, likeness = fnp.concatenate(boxes), fnp.concatenate(scores, axis=1)

    def of_class(boxes: Any, scores: Any) -> tuple[Any, Any]:
        kept, there = nn.non_max_suppression(boxes, scores, 10, overlap=0.3)
        return boxes[kept], fnp.where(there, scores[kept], 0.0)

    def of_scene(scores: Any) -> tuple[Any, Any, Any]:
        boxes, values = vmap(of_class, (1, 1))(candidates, scores)
        best, which = lax.top_k(values.ravel(), count)
        return fnp.clip(boxes.reshape(-1, 4)[which], 0, 1), best, which // values.shape[1]

    return vmap(of_scene)(likeness)
