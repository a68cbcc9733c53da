"""The wind over the earth, month by month."""

from typing import NamedTuple

import numpy as np
from scipy.io import netcdf_file

from examples.data.cache import fetch


class Winds(NamedTuple):
    """Monthly means of the wind.

    Attributes:
      east, north: (132, 73, 144) float32 in m/s, by month from January 1982, latitude and longitude.
      latitude: (73,) degrees from -90 to 90.
      longitude: (144,) degrees east from 20 to 377.5.
    """

    east: np.ndarray
    north: np.ndarray
    latitude: np.ndarray
    longitude: np.ndarray


def monthly() -> Winds:
    """Monthly means from 1982 to 1992 of the US Navy's analyses (FNOC), NaN where there are none.

    Raises:
      DataError: the set cannot be had.
    """
    with netcdf_file(str(fetch("winds") / "monthly_navy_winds.cdf"), mmap=False) as opened:
        values = opened.variables

        def field(name: str) -> np.ndarray:
            found = values[name]
            return np.where(found[:] == found.missing_value, np.nan, found[:]).astype(np.float32)

        axes = [np.array(values[axis][:], np.float32) for axis in values["UWND"].dimensions[1:]]
        return Winds(field("UWND"), field("VWND"), *axes)
