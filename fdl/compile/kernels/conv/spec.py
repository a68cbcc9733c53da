"""What a convolution kernel computes."""

from dataclasses import dataclass

import numpy as np

from fdl.dtypes import int8, int32

Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Convolution:
    """A convolution; tuples have one entry for each spatial dimension, strides count elements.

    Attributes:
        dtype: of x, w and y: float32 or float64; or int8, and y is int32.
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

    @property
    def pairs(self) -> bool:
        """Whether two neighbouring channels of x and w are packed into one word (see `kernels.pairs`)."""
        return self.dtype == int8

    @property
    def result(self) -> np.dtype:
        """The dtype of y, and of what is in scratch memory."""
        return int32 if self.pairs else self.dtype
