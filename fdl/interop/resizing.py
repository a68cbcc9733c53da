"""Interpolation along one axis as a matrix: what resizing does to each axis of space."""

import numpy as np


def weights(points: np.ndarray, extent: int, method: str, cubic: float = -0.75, inside: bool = False) -> np.ndarray:
    """What each element of an axis contributes to interpolated values.

    Args:
        points: where to interpolate, as indices of the axis that need not be whole.
        extent: how long the axis is; elements outside are those at its ends.
        method: "linear" or "cubic" (Keys, 1981).
        cubic: the coefficient of cubic interpolation.
        inside: whether elements outside count as nothing, and the others for more.

    Returns:
        A matrix [points, extent], whose rows sum to 1.

    >>> weights(np.array([0.25]), 3, "linear").tolist()
    [[0.75, 0.25, 0.0]]
    """
    first = np.floor(points)
    part = points - first
    if method == "linear":
        taps = {0: 1 - part, 1: part}
    else:
        a = cubic

        def near(t: np.ndarray) -> np.ndarray:
            return ((a + 2) * t - (a + 3)) * t * t + 1

        def far(t: np.ndarray) -> np.ndarray:
            return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a

        taps = {-1: far(part + 1), 0: near(part), 1: near(1 - part), 2: far(2 - part)}
    matrix = np.zeros((len(points), extent))
    rows = np.arange(len(points))
    for offset, share in taps.items():
        place = (first + offset).astype(int)
        if inside:
            share = np.where((place >= 0) & (place < extent), share, 0)
        np.add.at(matrix, (rows, np.clip(place, 0, extent - 1)), share)
    return matrix / matrix.sum(axis=1, keepdims=True) if inside else matrix
