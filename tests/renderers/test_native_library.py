"""Loading the kernels: which build, and which are refused."""

import ctypes
import shutil
from pathlib import Path

import pytest

from gen3d.errors import OutOfMemory
from gen3d.renderers.native import backend, library
from gen3d.renderers.native.source import source_hash

compiled = pytest.mark.skipif(library.failure() is not None, reason=f"no native kernels: {library.failure()}")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder in which the kernels are looked for."""
    monkeypatch.setattr(library, "FOLDER", tmp_path)
    for cached in (library.load, library.failure):
        cached.cache_clear()
    yield tmp_path
    for cached in (library.load, library.failure):
        cached.cache_clear()


def copy_libraries(target: Path, *names: str) -> None:
    for name in names:
        shutil.copy(Path(library.__file__).with_name(f"{name}.so"), target)


def test_the_hash_sees_names_and_contents_but_not_line_endings(tmp_path):
    assert source_hash(tmp_path) is None
    (tmp_path / "a.h").write_bytes(b"one\ntwo\n")
    first = source_hash(tmp_path)
    (tmp_path / "a.h").write_bytes(b"one\r\ntwo\r\n")
    assert source_hash(tmp_path) == first
    (tmp_path / "a.h").write_bytes(b"one\n2\n")
    assert source_hash(tmp_path) != first
    (tmp_path / "a.h").rename(tmp_path / "b.h")
    assert len({first, source_hash(tmp_path)}) == 2


def test_without_a_compiler_the_reason_says_what_to_do(folder):
    assert "not compiled" in library.failure()
    assert "pip install -e ." in library.failure()


@compiled
def test_a_library_of_other_sources_is_refused(folder):
    copy_libraries(folder, library.BASELINE)
    (folder / "native.cpp").write_text("// something else")
    assert "other sources" in library.failure()
    assert "pip install -e ." in library.failure()


def test_a_file_that_is_no_library_is_explained(folder):
    (folder / f"{library.BASELINE}.so").write_bytes(b"not a library")
    assert "cannot be loaded" in library.failure()


@compiled
def test_the_next_slower_build_serves_when_one_is_missing(folder):
    copy_libraries(folder, library.BASELINE)
    assert library.failure() is None
    assert library.load().name == library.BASELINE
    assert library.load().best in library.LIBRARIES


@compiled
def test_only_the_c_interface_is_exported():
    for name in library.LIBRARIES:
        path = library.FOLDER / f"{name}.so"
        if path.is_file():
            plain = ctypes.CDLL(str(path))
            assert all(hasattr(plain, function) for function in library.SIGNATURES)
            assert not hasattr(plain, "_ZN5gen3d4Pool6sharedEv")


@compiled
def test_a_failed_call_becomes_out_of_memory():
    with pytest.raises(OutOfMemory, match="ran out of memory"):
        library.load().call("gen3d_similarity", 1 << 40, 1 << 20, 1, None, None, None, None, (ctypes.c_double * 3)(), 1)


@compiled
@pytest.mark.parametrize("spoil", ["no library", "other sources"])
def test_the_next_slower_build_serves_when_one_cannot_be_loaded(spoil, folder, monkeypatch):
    copy_libraries(folder, library.BASELINE)
    monkeypatch.setattr(library.Library, "best", property(lambda _: "gen3d_avx2"))
    if spoil == "no library":
        (folder / "gen3d_avx2.so").write_bytes(b"not a library")
    else:
        shutil.copy(folder / f"{library.BASELINE}.so", folder / "gen3d_avx2.so")
        real = library.Library.__init__

        def other_sources(self, name, skipped=None):
            real(self, name, skipped)
            if name != library.BASELINE:
                raise ValueError(f"{name}.so was compiled from other sources")

        monkeypatch.setattr(library.Library, "__init__", other_sources)
    assert library.failure() is None
    assert library.load().name == library.BASELINE
    told = backend.build_info()
    assert "slower than it could be: gen3d_avx2.so" in told
    assert ("cannot be loaded" if spoil == "no library" else "other sources") in told


@compiled
def test_the_fastest_build_has_no_excuse(folder):
    copy_libraries(folder, library.BASELINE)
    assert library.load().skipped is None
    assert "slower" not in backend.build_info()
