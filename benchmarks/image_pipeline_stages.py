"""The stages of a connector flow, each a PyTorch process that reads files and writes files; see `image_pipeline`.

A process loads its network once and does what lines of JSON on its standard input ask for; it answers with a line.
"""

import io
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from examples.image_pipeline import task

THREADS = 2
SCENES, CROPS = 32, 128  # of a batch


def conv(torch: Any, layer: Any, x: Any, **options: Any) -> Any:
    return torch.nn.functional.conv2d(x, layer["w"], layer["b"], **options)


def tensors(torch: Any, tree: Any) -> Any:
    """Parameters of fdl in PyTorch's layouts."""
    if isinstance(tree, dict):
        return {name: tensors(torch, value) for name, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [tensors(torch, value) for value in tree]
    array = np.asarray(tree)
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(array.ndim)
    return torch.from_numpy(np.ascontiguousarray(array.transpose(axes) if axes else array))


def detector(torch: Any, params: Any, priors: np.ndarray, fast: bool) -> Callable[[np.ndarray], tuple[Any, ...]]:
    """The counterpart of `task.objects`: images (n, size, size, 3) uint8 -> image, box, score, digit, crop of objects.

    Args:
      torch: the module.
      params: of `fdl.models.ssd`, as tensors.
      priors: boxes (m, 4).
      fast: whether images have their channels last in memory.
    """
    F, config = torch.nn.functional, task.DETECTOR
    prior = torch.from_numpy(priors)
    centre, side = (prior[:, :2] + prior[:, 2:]) / 2, prior[:, 2:] - prior[:, :2]

    def apply(x: Any) -> tuple[Any, Any]:
        read = []
        for number, block in enumerate(params["blocks"]):
            for layer in block:
                x = F.relu(conv(torch, layer, x, padding=1))
            if number == len(params["blocks"]) - 2:
                read.append(x / torch.sqrt((x * x).sum(1, keepdim=True) + 1e-10) * params["scale"][:, None, None])
            if number < len(params["blocks"]) - 1:
                x = F.max_pool2d(x, 2, ceil_mode=True)
        x = F.max_pool2d(x, 3, 1, 1)
        x = F.relu(conv(torch, params["hidden"][0], x, padding=config.dilation, dilation=config.dilation))
        read.append(x := F.relu(conv(torch, params["hidden"][1], x)))
        for (first, second), (_, _, strided) in zip(params["extra"], config.extra, strict=True):
            x = F.relu(conv(torch, first, x))
            read.append(x := F.relu(conv(torch, second, x, stride=1 + strided, padding=int(strided))))
        found = []
        for name, size in (("classes", config.classes + 1), ("offsets", 4)):
            outputs = [conv(torch, head[name], x, padding=1) for head, x in zip(params["heads"], read, strict=True)]
            found.append(torch.cat([y.permute(0, 2, 3, 1).reshape(len(y), -1, size) for y in outputs], 1))
        return found[0], found[1]

    def see(images: np.ndarray) -> tuple[Any, ...]:
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
        x = (pixels - 127.5) / 64
        logits, offsets = apply(x.contiguous(memory_format=torch.channels_last if fast else torch.contiguous_format))
        middle = centre + offsets[..., :2] * 0.1 * side
        half = side * torch.exp(offsets[..., 2:] * 0.2) / 2
        boxes = torch.cat([middle - half, middle + half], -1).clamp(0, 1)
        scores = torch.softmax(logits, -1)[..., 1:]
        scores, digits = scores.max(-1)
        image, place = torch.where(scores > task.SCORE)
        box, score, digit = boxes[image, place], scores[image, place], digits[image, place]
        kept = suppressed(torch, box, score, image)
        kept = kept[torch.argsort(image[kept], stable=True)]  # within an image the scores still fall
        image, box, score, digit = image[kept], box[kept], score[kept], digit[kept]
        first = torch.searchsorted(image, image)
        there = torch.arange(len(image)) - first < task.COUNT
        image, box, score, digit = image[there], box[there], score[there], digit[there]
        margin = task.MARGIN * (box[:, 2:] - box[:, :2])
        low, high = box[:, :2] - margin, box[:, 2:] + margin
        steps = (torch.arange(task.SIDE) + 0.5) / task.SIDE
        points = 2 * (low[:, None] + steps[:, None] * (high - low)[:, None]) - 1  # [objects, SIDE, (x, y)]
        grid = torch.stack(torch.broadcast_tensors(points[:, None, :, 0], points[:, :, None, 1]), -1)
        crops = F.grid_sample(pixels[image], grid, padding_mode="border", align_corners=False)
        crop = crops.permute(0, 2, 3, 1).round().to(torch.uint8)
        return tuple(array.contiguous().numpy() for array in (image, box, score, digit, crop))

    return see


def suppressed(torch: Any, box: Any, score: Any, group: Any) -> Any:
    """The numbers of boxes that non-maximum suppression keeps in each group, by falling scores."""
    order = torch.argsort(score, descending=True, stable=True)
    box, group = box[order], group[order]
    sides = (
        torch.minimum(box[:, None, 2:], box[None, :, 2:]) - torch.maximum(box[:, None, :2], box[None, :, :2])
    ).clamp(0)
    area = (box[:, 2:] - box[:, :2]).prod(1)
    common = sides.prod(2)
    overlap = common / (area[:, None] + area - common)
    meets = ((overlap > task.OVERLAP) & (group[:, None] == group)).numpy()
    kept = np.ones(len(meets), bool)
    for place in range(len(meets)):
        if kept[place]:
            kept[place + 1 :] &= ~meets[place, place + 1 :]
    return order[torch.from_numpy(kept)]


def encoder(torch: Any, params: Any) -> Callable[[np.ndarray], Any]:
    """The counterpart of `task.encode`: crops (n, side, side, 3) uint8 -> bits (n, bits), bool."""
    F, network = torch.nn.functional, params["network"]

    def encode(crops: np.ndarray) -> Any:
        x = (torch.from_numpy(crops).permute(0, 3, 1, 2).float() - 127.5) / 64
        for block in network["blocks"]:
            for layer in block:
                x = F.relu(conv(torch, layer, x, padding=1))
            x = F.max_pool2d(x, 2)
        x = x.permute(0, 2, 3, 1).flatten(1)
        for name in ("hidden1", "hidden2"):
            x = F.relu(F.linear(x, network[name]["w"], network[name]["b"]))
        return F.linear(x, network["out"]["w"], network["out"]["b"]) > 0

    return encode


def nearest(torch: Any, gallery: dict[str, np.ndarray]) -> Callable[[Any], tuple[np.ndarray, np.ndarray]]:
    """The counterpart of `task.nearest`: bits -> numbers and distances of neighbours."""
    codes = torch.from_numpy((gallery["code"][:, None] >> np.arange(task.BITS) & 1).astype(np.float32)) * 2 - 1
    count, numbers = len(codes), torch.from_numpy(gallery["object"])

    def find(bits: Any) -> tuple[np.ndarray, np.ndarray]:
        distances = (task.BITS - (bits.float() * 2 - 1) @ codes.T).round().long() // 2
        keys = distances * count + torch.arange(count)  # of equally near ones the first
        best = keys.topk(task.NEAREST, largest=False).values
        return numbers[best % count].numpy(), (best // count).int().numpy()

    return find


def batches(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def detect_files(see: Callable, folder: Path, out: Path, pool: ThreadPoolExecutor) -> int:
    """JPEG files become files of objects, one a batch, whose names have the scenes' numbers inside."""
    from PIL import Image

    def decoded(path: Path) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))

    files, count = sorted(folder.glob("*.jpg")), 0
    for number, some in enumerate(batches(files, SCENES)):
        image, box, score, digit, crop = see(np.stack(list(pool.map(decoded, some))))
        scene = np.array([int(path.stem) for path in some])[image]
        np.savez(out / f"{number:06d}.npz", scene=scene, box=box, score=score, digit=digit, crop=crop)
        count += len(scene)
    return count


def encode_files(encode: Callable, find: Callable, folder: Path, out: Path) -> int:
    """Files of objects become files of codes and neighbours; the crops of several files are encoded together."""
    count = 0
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as read:
            given = {name: read[name] for name in read.files}
        bits = encode(given["crop"])
        neighbour, distance = find(bits)
        code = bits.numpy().astype(np.int64) @ (np.int64(1) << np.arange(task.BITS))
        np.savez(out / path.name, **given, code=code, neighbour=neighbour, distance=distance)
        count += len(code)
    return count


def main(stage: str, content: str, fast: str) -> None:
    """Load a stage, say so, and do what is asked for until the input ends."""
    torch = import_module("torch")
    torch.set_num_threads(THREADS)
    with np.load(content, allow_pickle=True) as read:
        given = {name: read[name][()] for name in read.files}
    pool = ThreadPoolExecutor(THREADS)
    with torch.inference_mode():
        if stage == "detect":
            see = detector(torch, tensors(torch, given["detector"]), given["priors"], fast == "last")
        else:
            encode, find = encoder(torch, tensors(torch, given["encoder"])), nearest(torch, given["gallery"])
        print(json.dumps("ready"), flush=True)
        for line in sys.stdin:
            folder, out = map(Path, json.loads(line))
            out.mkdir()
            if stage == "detect":
                count = detect_files(see, folder, out, pool)
            else:
                count = encode_files(encode, find, folder, out)
            print(json.dumps(count), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
