"""The model with its loss, what is done to images, and the metrics."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import fdl
import fdl.numpy as fnp
from examples.imagenet.recipe import Recipe
from fdl import models
from fdl_spark import features, metrics
from fdl_spark.errors import ArgumentError
from fdl_spark.features import augment

PLAIN = augment.normalise("images", mean=(0, 0, 0), std=(1, 1, 1))  # bytes as numbers from 0 to 1


def normalise(recipe: Recipe) -> augment.Augmentation:
    """Images less the recipe's mean and over its standard deviation."""
    return augment.normalise("images", mean=recipe.mean, std=recipe.std)


def of_crop(recipe: Recipe) -> augment.Augmentation:
    """BigDL's: a random part of the image, or its mirror image."""
    crop = augment.crop("images", height=recipe.size, width=recipe.size)
    return augment.chain(crop, augment.flip("images"), normalise(recipe))


def of_resized_crop(recipe: Recipe) -> augment.Augmentation:
    """That of Inception's paper, and BigDL's for ResNet-50: a part of any area and shape, in other colours."""
    return augment.chain(
        augment.resized_crop("images", height=recipe.size, width=recipe.size),
        augment.flip("images"),
        PLAIN,
        augment.colour_jitter("images", brightness=0.4, contrast=0.4, saturation=0.4),
        normalise(recipe),
    )


AUGMENTATIONS: dict[str, Callable[[Recipe], augment.Augmentation]] = {"crop": of_crop, "resized": of_resized_crop}


def encoders(recipe: Recipe) -> features.Features:
    """From rows of JPEG files and labels to arrays: every image is decoded once, and stretched as BigDL does.

    What the executors keep of it are bytes on their disks, mapped into memory as batches need them.
    """
    size = recipe.stored
    return features.Features(
        (
            features.image("image", "images", height=size, width=size, fit="stretch", dtype="uint8"),
            features.numeric("label", output="labels", dtype="int32"),
        )
    )


def middle(images: Any, recipe: Recipe) -> Any:
    """The middle of images as `encoders` gives them, normalised; or augmented ones as they are."""
    if fnp.issubdtype(images.dtype, fnp.floating):
        return images
    top, left = ((extent - recipe.size) // 2 for extent in images.shape[1:3])
    part = images[:, top : top + recipe.size, left : left + recipe.size]
    change = normalise(recipe)
    return fdl.vmap(lambda image: change(None, {"images": image})["images"])(part)


class Network:
    """A model of `fdl.models` as `fdl_spark.train` and `fdl_spark.metrics` take it.

    Args:
      recipe: which model, and for what.

    Raises:
      ArgumentError: there is no such model, or it has another kind of loss.

    Attributes:
      config: of the model.
    """

    def __init__(self, recipe: Recipe):
        if recipe.model not in models.names():
            raise ArgumentError(f"there is no model {recipe.model!r}; fdl.models has {', '.join(models.names())}")
        found = models.find(recipe.model)
        fields = {"classes": recipe.classes, "size": recipe.size, "width": recipe.width}
        known = {name: value for name, value in fields.items() if hasattr(found.config, name)}
        if "classes" not in known or not found.has_state:
            raise ArgumentError(f"{recipe.model} is no classifier of images that has a state, as batch norms have it")
        self.module, self.config, self.recipe = found.module, replace(found.config, **known), recipe
        self.takes_key = "key" in inspect.signature(self.module.loss).parameters

    def init(self, key: Any) -> tuple[Any, Any]:
        """Parameters, and the statistics of batch norms, none of which an Inception-v1 with response norms has."""
        return self.module.init(key, self.config)

    def loss(self, params: Any, state: Any, batch: Mapping[str, Any], key: Any, training: bool) -> Any:
        """The model's loss of a batch, with dropout in training."""
        keyed = (key,) if training and self.takes_key else ()
        images = {"images": middle(batch["images"], self.recipe), "labels": batch["labels"]}
        return self.module.loss(params, state, images, *keyed, config=self.config, training=training)

    def scores(self, both: Any, batch: Mapping[str, Any]) -> Any:
        """Logits of a batch, of (parameters, state)."""
        images = middle(batch["images"], self.recipe)
        return self.module.apply(*both, images, config=self.config, training=False)[0]

    def metrics(self) -> dict[str, metrics.Metric]:
        """Top-1 and top-5 accuracy of the middle of each image."""
        return {
            "top-1": metrics.accuracy(self.scores, "labels"),
            "top-5": metrics.top_k(self.scores, "labels", 5),
        }
