"""Folders on file systems of several kinds: those that rename folders and those that do not, of Hadoop and pyarrow."""

import posixpath
import uuid

import pytest
from pyarrow import fs
from pyspark.ml import Pipeline

import fdl_spark
from fdl_spark import features, ml
from fdl_spark.ml import persistence, storage
from fdl_spark.ml.storage import ArrowStorage, HadoopStorage, LocalStorage, storage_of, write_folder

FIRST = {"a": b"1", "inner/b": b"22", "metadata/part-00000": b"whole"}
SECOND = {"a": b"333", "metadata/part-00000": b"whole again"}


def apply(params, x):
    return x @ params


class ObjectStore(ArrowStorage):
    """No step renames a folder; `fails` is the file whose write breaks off."""

    fails = ""

    @property
    def renames(self):
        return False

    def move(self, old, new):
        raise OSError("an object store has no such thing")

    def write(self, folder, files):
        for path, content in files.items():
            if path == self.fails:
                raise OSError("connection lost")
            super().write(folder, {path: content})


def sub_tree(folder):
    return fs.SubTreeFileSystem(str(folder), fs.LocalFileSystem())


def content(place, path):
    return {name: place.read(posixpath.join(path, name)) for name in ("a", "metadata/part-00000")}


@pytest.mark.parametrize("kind", [LocalStorage, ArrowStorage, ObjectStore])
def test_a_folder_is_replaced_when_asked_only(kind, tmp_path):
    place, path = (kind(), f"{tmp_path}/m") if kind is LocalStorage else (kind(sub_tree(tmp_path)), "m")
    write_folder(place, path, FIRST, overwrite=False)
    with pytest.raises(fdl_spark.ModelError, match="is there already"):
        write_folder(place, path, SECOND, overwrite=False)
    assert content(place, path) == {"a": b"1", "metadata/part-00000": b"whole"}
    write_folder(place, path, SECOND, overwrite=True)
    assert content(place, path) == SECOND
    assert sorted(place.names(path)) == ["a", "metadata"]  # nothing of the first one is left
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]
    write_folder(place, path + "/", FIRST, overwrite=True)
    (tmp_path / "m2").write_text("a file")
    write_folder(place, path + "2", FIRST, overwrite=True)
    assert content(place, path + "2") == content(place, path)


def test_pyarrow_s_file_systems_that_rename_folders(tmp_path):
    assert ArrowStorage(sub_tree(tmp_path)).renames
    assert not ArrowStorage(fs.S3FileSystem(anonymous=True, region="nowhere")).renames


def test_what_breaks_off_is_told_by_what_reads_it(tmp_path, monkeypatch):
    """On an object store the old one is gone then: its files cannot be told from those of the new one."""
    place = ObjectStore(sub_tree(tmp_path))
    monkeypatch.setattr(persistence, "storage_of", lambda path, session: (place, path))
    encoders = features.Features((features.numeric("x"),))
    estimator = fdl_spark.Classifier(apply, None, features=encoders, epochs=7)
    estimator.save("m")
    assert ml.load("m").getEpochs() == 7
    for place.fails in ("features.json", "metadata/part-00000"):
        with pytest.raises(fdl_spark.ModelError, match="m cannot be written: connection lost"):
            estimator.write().overwrite().save("m")
        said = "half-written: metadata/part-.*written last" if "meta" in place.fails else "holds no model"
        with pytest.raises(fdl_spark.ModelError, match=said):
            ml.load("m")
    place.fails = ""
    estimator.write().overwrite().save("m")
    assert ml.load("m").features.to_json() == encoders.to_json()


@pytest.fixture
def mounted(spark, tmp_path):
    """A folder of this machine as one of Hadoop's other file systems."""
    name = f"t{uuid.uuid4().hex[:8]}"
    settings = spark.sparkContext._jsc.hadoopConfiguration()
    settings.set(f"fs.viewfs.mounttable.{name}.link./models", f"file://{tmp_path}")
    yield f"viewfs://{name}/models"
    settings.unset(f"fs.viewfs.mounttable.{name}.link./models")


def test_folders_that_hadoop_reaches(mounted, tmp_path, monkeypatch):
    place, path = storage_of(f"{mounted}/m")
    assert isinstance(place, HadoopStorage) and place.renames
    monkeypatch.setattr(storage, "PIECE", 2)
    write_folder(place, path, FIRST, overwrite=False)
    write_folder(place, path, SECOND, overwrite=True)
    assert content(place, path) == SECOND
    assert [entry.name for entry in tmp_path.iterdir()] == ["m"]
    place.write(f"{path}.x", FIRST)
    with pytest.raises(OSError, match="made by somebody else"):  # which Hadoop would have moved into the other one
        place.move(f"{path}.x", path)
    assert sorted(place.names(path)) == ["a", "metadata"]
    monkeypatch.undo()
    Pipeline(stages=[fdl_spark.Classifier(apply, None, epochs=7)]).save(f"{mounted}/pipeline")
    (again,) = Pipeline.load(f"{mounted}/pipeline").getStages()
    assert again.getEpochs() == 7
    with pytest.raises(fdl_spark.ModelError, match="holds no model"):
        ml.load(f"{mounted}/none")
    with pytest.raises(fdl_spark.ModelError, match="cannot be written: .*not within a mount point"):
        again.save(f"{mounted[: -len('/models')]}/m")  # nothing is mounted there


def test_a_thread_without_a_session_of_its_own_reaches_the_same_folders(spark, mounted):
    from threading import Thread

    found = []
    thread = Thread(target=lambda: found.append(storage_of(f"{mounted}/m")))
    thread.start()
    thread.join()
    assert isinstance(found[0][0], HadoopStorage)
