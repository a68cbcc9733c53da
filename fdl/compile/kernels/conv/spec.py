"""What a convolution kernel computes."""

from dataclasses import dataclass

import numpy as np

from fdl.compile.llvm.values import HALVES
from fdl.dtypes import float32, int8, int32

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Convolution:
    """A convolution; tuples have one entry for each spatial dimension, strides count elements.

    Attributes:
        dtype: of x and w: float32 or float64, which y is too; int8, and y is int32; or float16 or bfloat16, which are
            summed in float32 and rounded once.
        batch: images.
        in_features: channels of x, all groups together.
        out_features: channels of y, all groups together.
        in_spatial, window, out_spatial: spatial sizes of x, w and y.
        stride, low, lhs_dilation, rhs_dilation: as in the formula; `low` is the padding before, it may be negative.
            The padding after follows from `out_spatial`.
        groups: feature groups; w has in_features // groups input channels.
        x: strides of x along (batch, *spatial, channel).
        w: strides of w along (*window, input channel within the group, output channel of all groups).
        y: strides of y along (batch, *spatial, channel).
        batch_groups: the images of x and the output channels are cut into so many groups, and each group of images
            meets only its own output channels; y has batch // batch_groups images.
        wide: whether y is float32 though x and w are of 16 bits.
        direct: whether all products are to be summed directly.
        paired: whether two neighbouring channels of bfloat16 are packed into one word.
    """

    dtype: np.dtype
    batch: int
    in_features: int
    out_features: int
    in_spatial: Sizes
    window: Sizes
    out_spatial: Sizes
    stride: Sizes
    low: Sizes
    lhs_dilation: Sizes
    rhs_dilation: Sizes
    groups: int
    x: Sizes
    w: Sizes
    y: Sizes
    batch_groups: int = 1
    wide: bool = False
    paired: bool = False
    direct: bool = False

    @property
    def pairs(self) -> bool:
        """Whether two neighbouring channels of x and w are packed into one word (see `kernels.pairs`)."""
        return self.dtype == int8 or self.paired

    @property
    def sums(self) -> np.dtype:
        """The dtype of sums, and of what is in scratch memory."""
        return int32 if self.dtype == int8 else float32 if self.dtype in HALVES else self.dtype

    @property
    def result(self) -> np.dtype:
        """The dtype of y."""
        return self.dtype if self.dtype in HALVES and not self.wide else self.sums
