"""Interpolation along one axis: the shares of neighbours, and resizing as a matrix."""

from typing import Any

import numpy as np


def shares(part: Any, method: str, cubic: float = -0.75) -> dict[int, Any]:
    """What the neighbours of a point contribute to its value.

    Args:
        part: how far behind an element the point lies, in [0, 1).
        method: "linear" or "cubic" (Keys, 1981).
        cubic: the coefficient of cubic interpolation.

    Returns:
        The share of each neighbour, by its distance from the element.

    >>> shares(0.25, "linear")
    {0: 0.75, 1: 0.25}
    """
    if method == "linear":
        return {0: 1 - part, 1: part}
    a = cubic

    def near(t: Any) -> Any:
        return ((a + 2) * t - (a + 3)) * t * t + 1

    def far(t: Any) -> Any:
        return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a

    return {-1: far(part + 1), 0: near(part), 1: near(1 - part), 2: far(2 - part)}


def weights(
    points: np.ndarray,
    extent: int,
    method: str,
    cubic: float = -0.75,
    inside: bool = False,
    stretch: float = 1.0,
) -> np.ndarray:
    """What each element of an axis contributes to interpolated values.

    Args:
        points: where to interpolate, as indices of the axis that need not be whole.
        extent: how long the axis is; elements outside are those at its ends.
        method: "linear" or "cubic" (Keys, 1981).
        cubic: the coefficient of cubic interpolation.
        inside: whether elements outside count as nothing, and the others for more.
        stretch: how many times as wide the interpolation reaches, against aliasing when an axis is made shorter.

    Returns:
        A matrix [points, extent], whose rows sum to 1.

    >>> weights(np.array([0.25]), 3, "linear").tolist()
    [[0.75, 0.25, 0.0]]
    """
    first = np.floor(points)
    matrix = np.zeros((len(points), extent))
    rows = np.arange(len(points))
    if stretch > 1:
        reach = int(np.ceil((1 if method == "linear" else 2) * stretch))
        taps = {k: kernel((first + k - points) / stretch, method, cubic) for k in range(-reach, reach + 2)}
        total = sum(taps.values())
        taps = {offset: share / total for offset, share in taps.items()}
    else:
        taps = shares(points - first, method, cubic)
    for offset, share in taps.items():
        place = (first + offset).astype(int)
        if inside:
            share = np.where((place >= 0) & (place < extent), share, 0)
        np.add.at(matrix, (rows, np.clip(place, 0, extent - 1)), share)
    return matrix / matrix.sum(axis=1, keepdims=True) if inside else matrix


def kernel(distance: np.ndarray, method: str, cubic: float = -0.75) -> np.ndarray:
    """The share of an element by its distance from a point.

    >>> kernel(np.array([0.0, -0.5, 1.5]), "linear").tolist()
    [1.0, 0.5, 0.0]
    """
    far = np.abs(distance)
    if method == "linear":
        return np.maximum(1 - far, 0)
    parts = shares(np.minimum(far, 1), method, cubic)[0], shares(np.clip(far - 1, 0, 1), method, cubic)[-1]
    return np.where(far <= 1, parts[0], np.where(far < 2, parts[1], 0))
