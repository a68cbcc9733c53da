"""The two networks, their losses, and the functions that the pipeline applies to rows."""

from typing import Any

import fdl.numpy as fnp
from examples.image_pipeline.scenes import MOST, SIZE
from fdl import lax, nn, random, vmap
from fdl.models import deepbit, ssd, vgg
from fdl_spark import features

DIGITS = 10
SIDE = 32  # height and width of a crop
MARGIN = 0.1  # of its box, that a crop has around it
BITS = 48  # of a code, which is one whole number
COUNT = 8  # objects that the pipeline looks for in a scene
SCORE = 0.4  # from which on it takes what it sees for an object
OVERLAP = 0.3  # from which on two boxes are of one object, as digits do not overlap
NEAREST = 10  # neighbours of an object
PIECE = 32  # crops of one batch of scenes that are encoded at once

#: SSD with the last-but-one block of 16 x 16 places, and two coarser grids: 307,840 parameters, 1,984 prior boxes.
DETECTOR = ssd.Config(
    blocks=((8,), (16,), (32, 32), (64, 64), (64,)),
    hidden=64,
    dilation=2,
    extra=((32, 64, True),),
    scales=(0.22, 0.34, 0.48, 0.62),
    ratios=((2, 3), (2, 3), (2,)),
    size=SIZE,
    classes=DIGITS,
)
#: Weights of a third for each of DeepBit's terms, and no rotation, which would make 6 and 9 one digit.
ENCODER = deepbit.Config(
    vgg.Config(blocks=((24,), (48,), (64, 64)), hidden=128, pooled=4, size=SIDE, classes=BITS),
    quantization=0.3,
    balance=0.3,
    rotation=0.0,
)

#: What becomes of the columns of scenes: to train and evaluate on, and to predict of.
SCENES = features.Features(
    (
        features.image("image", height=SIZE, width=SIZE, dtype="uint8"),
        features.pad("boxes", length=MOST),
        features.pad("labels", length=MOST, value=-1, dtype="int32"),
    )
)
IMAGES = SCENES.without("boxes", "labels")
CROPS = features.Features((features.raw("crop", shape=(SIDE, SIDE, 3)),))


def standardized(pixels: Any) -> Any:
    """Bytes as numbers around zero."""
    return (fnp.asarray(pixels).astype(fnp.float32) - 127.5) / 64


def detector_loss(params: Any, batch: Any) -> Any:
    """The multibox loss of scenes."""
    wanted = {"images": standardized(batch["image"]), "boxes": batch["boxes"], "classes": batch["labels"]}
    return ssd.loss(params, wanted, config=DETECTOR)


def detect(
    params: Any, batch: Any, count: int = 40, score: float = 0.01, overlap: float = 0.45, agnostic: bool = False
) -> Any:
    """Boxes, scores and classes, as of `ssd.detect`."""
    options: dict[str, Any] = {"count": count, "score": score, "overlap": overlap, "agnostic": agnostic}
    return ssd.detect(params, standardized(batch["image"]), config=DETECTOR, **options)


def crops_of(images: Any, boxes: Any) -> Any:
    """What is in boxes [rows, n, 4] of images, with a margin: bytes [rows, n, SIDE, SIDE, 3]."""
    margin = MARGIN * (boxes[..., 2:] - boxes[..., :2])
    wider = fnp.concatenate([boxes[..., :2] - margin, boxes[..., 2:] + margin], axis=-1)
    return fnp.round(nn.crop_boxes(images, wider, (SIDE, SIDE))).astype(fnp.uint8)


#: The columns that `objects` gives, and their types in Spark.
OBJECTS = {"box": "array<array<float>>", "score": "array<float>", "digit": "array<int>", "crop": "array<binary>"}


def objects(params: Any, batch: Any) -> dict[str, Any]:
    """What is seen in each scene: COUNT boxes, scores, digits (-1 where there is none) and crops."""
    boxes, scores, classes = detect(params, batch, COUNT, SCORE, OVERLAP, agnostic=True)
    crops = crops_of(batch["image"], boxes)
    return {"box": boxes, "score": scores, "digit": classes.astype(fnp.int32), "crop": crops}


def examples(seed: Any, batch: Any) -> dict[str, Any]:
    """Crops of true boxes, a little off as those of a detector are, to learn codes from; a label -1 is no crop."""
    boxes, key = batch["boxes"], random.key(seed)
    noise = vmap(lambda scene: random.normal(random.fold_in(key, scene), (MOST, 4)))(batch["scene"])
    sides = fnp.tile(boxes[..., 2:] - boxes[..., :2], (1, 1, 2))
    return {"crop": crops_of(batch["image"], boxes + 0.04 * sides * noise), "label": batch["labels"]}


def init_encoder(key: Any) -> Any:
    """Parameters of the network that makes codes, and of a layer that reads digits from them."""
    first, second = random.split(key)
    return {"network": deepbit.init(first, ENCODER), "out": nn.init_dense(second, BITS, DIGITS)}


def encoder_loss(params: Any, batch: Any) -> Any:
    """Cross-entropy of the digits that codes tell, and DeepBit's terms, which make bits of them.

    Source: Lin, Yang, Hsiao, Chen, "Deep Learning of Binary Hash Codes for Fast Image Retrieval", CVPR workshops 2015.
    """
    codes = deepbit.apply(params["network"], standardized(batch["crop"]), config=ENCODER)
    logits = nn.dense(params["out"], 2 * codes - 1)
    told = nn.softmax_cross_entropy_with_integer_labels(logits, batch["label"])
    return fnp.mean(told) + deepbit.code_loss(codes, config=ENCODER)


def encode(params: Any, batch: Any) -> Any:
    """The code of each crop, int64: the bits of DeepBit, the first the lowest."""
    bits = deepbit.bits(params["network"], standardized(batch["crop"]), config=ENCODER)
    return fnp.sum(bits.astype(fnp.int64) << fnp.arange(BITS, dtype=fnp.int64), axis=-1)


def distances(gallery: Any, batch: Any) -> Any:
    """In how many bits each row's code differs from those of a gallery: int32 [rows, gallery]."""
    return fnp.bitwise_count(batch["code"][:, None] ^ gallery["code"]).astype(fnp.int32)


def nearest(gallery: Any, batch: Any) -> dict[str, Any]:
    """The NEAREST codes of a gallery, the nearest first, of equally near ones the first of the gallery."""
    negative, places = lax.top_k(-distances(gallery, batch), NEAREST)
    return {"neighbour": gallery["object"][places], "distance": -negative}


#: The columns that `recognised` gives, and their types in Spark.
RECOGNISED = OBJECTS | {"code": "array<bigint>", "neighbour": "array<array<bigint>>", "distance": "array<array<int>>"}


def recognised(params: Any, batch: Any, see: Any = objects) -> dict[str, Any]:
    """What is seen in each scene, with its codes and neighbours: `objects`, `encode` and `nearest` in one function.

    Only what is seen is encoded, PIECE crops at a time, as places of scenes that nothing fills would be most of the
    work.

    Args:
      params: {"detector": ..., "encoder": ..., "gallery": {"object", "code"}}.
      batch: of scenes.
      see: what finds the objects.
    """
    seen = see(params["detector"], batch)
    scenes = seen["digit"].shape[0]
    there = seen["digit"].ravel() >= 0
    slots = -(-there.size // PIECE) * PIECE
    order = fnp.pad(fnp.argsort(~there), (0, slots - there.size), constant_values=there.size)  # what is seen is first
    crops = seen["crop"].reshape(there.size, SIDE, SIDE, 3)

    def piece(number: Any, found: Any) -> Any:
        places = lax.dynamic_slice_in_dim(order, number * PIECE, PIECE)
        code = encode(params["encoder"], {"crop": crops.at[places].get(mode="clip")})
        near = nearest(params["gallery"], {"code": code})
        return {name: found[name].at[places].set(value, mode="drop") for name, value in ({"code": code} | near).items()}

    number = params["gallery"]["object"].dtype
    empty = {
        "code": fnp.zeros((there.size,), fnp.int64),
        "neighbour": fnp.zeros((there.size, NEAREST), number),
        "distance": fnp.zeros((there.size, NEAREST), fnp.int32),
    }
    coded = lax.fori_loop(0, -(-fnp.sum(there) // PIECE), piece, empty)
    return seen | {name: value.reshape(scenes, COUNT, *value.shape[1:]) for name, value in coded.items()}


def truth(_: Any, batch: Any) -> Any:
    """The digit that is where a box was seen: that of the true box that it overlaps most, if by half; else -1."""
    overlaps = nn.box_iou(batch["box"][:, None], batch["boxes"])[:, 0]
    best = fnp.argmax(overlaps, axis=-1)
    there = fnp.max(overlaps, axis=-1) >= 0.5
    return fnp.where(there, fnp.take_along_axis(batch["labels"], best[:, None], axis=1)[:, 0], -1)
