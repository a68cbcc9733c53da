"""Hyperparameters, and the optimizer that follows from them.

Source: BigDL's example of Inception-v1 (models/inception of its repository): its command for 16 nodes of 28 cores has a
batch of 1,792, a rate of 0.0898, a weight decay of 0.0001 and 62,000 steps; momentum 0.9 and a polynomial decay of
power 0.5 stand in its program, where a linear warm-up is an option that this command does not take. Images are
centred by (123, 117, 104) and not scaled: response norms with Caffe's numbers expect pixels as wide as bytes.
"""

from dataclasses import dataclass, replace
from typing import Any

from fdl import optim

MOMENTUM, POWER = 0.9, 0.5


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters.

    Attributes:
      model: a name of `fdl.models`: "inception_v1", "googlenet", "resnet50", "mobilenet_v2" and others of images.
      width: factor of its numbers of channels, where it has one.
      classes: how many.
      stored: height and width of the images that the executors keep, as bytes.
      size: height and width of the part that the model sees.
      augmentation: a name of `task.AUGMENTATIONS`.
      mean, std: of red, green and blue, of numbers from 0 to 1, by which images are normalised.
      batch: images of a step.
      microbatch: images that a task computes at once; the gradients of a step are added up.
      rate: the highest learning rate.
      start: the rate of the first step of the warm-up.
      warmup: steps of the warm-up.
      decay: of the weights (L2).
      steps: how many.
      validate: after every so many steps.
    """

    model: str
    classes: int
    stored: int
    size: int
    batch: int
    microbatch: int
    rate: float
    warmup: int
    steps: int
    validate: int
    width: float = 1.0
    start: float = 0.0
    decay: float = 1e-4
    augmentation: str = "crop"
    mean: tuple[float, float, float] = (123 / 255, 117 / 255, 104 / 255)
    std: tuple[float, float, float] = (1 / 255, 1 / 255, 1 / 255)

    def of_steps(self, steps: int) -> "Recipe":
        """The same for another number of steps, of which the warm-up has the same share."""
        return replace(self, steps=steps, warmup=self.warmup * steps // self.steps)

    def schedule(self) -> Any:
        """The rate by step: a straight line up to `rate`, then ``rate * (1 - progress) ** 0.5`` down to zero."""
        fall = optim.polynomial_schedule(self.rate, 0.0, POWER, self.steps - self.warmup)
        if not self.warmup:
            return fall
        rise = optim.linear_schedule(self.start or self.rate / self.warmup, self.rate, self.warmup)
        return optim.join_schedules([rise, fall], [self.warmup])

    def optimizer(self) -> Any:
        """SGD with momentum, after the decay of the weights is added to the gradients, as BigDL's."""
        return optim.chain(optim.add_decayed_weights(self.decay), optim.sgd(self.schedule(), momentum=MOMENTUM))


#: "bigdl": its recipe for ImageNet, with a warm-up of one epoch. "photographs": minutes on two cores, for the stand-in,
#: by a narrow Inception-v1 with batch norms in place of response norms, which learns in fewer steps.
RECIPES = {
    "bigdl": Recipe(
        "inception_v1", 1000, 256, 224, batch=1792, microbatch=16, rate=0.0898, warmup=715, steps=62_000, validate=6200
    ),
    "photographs": Recipe(
        "googlenet",
        21,
        72,
        64,
        batch=64,
        microbatch=32,
        rate=0.1,
        warmup=20,
        steps=198,
        validate=33,
        width=0.5,
        std=(0.229, 0.224, 0.225),
    ),
}
