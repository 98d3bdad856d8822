import errno
import hashlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gen3d import files
from gen3d.errors import BadInput, Gen3DError


def test_a_block_that_ends_well_replaces_the_file(tmp_path):
    target = tmp_path / "deep" / "model.ply"
    files.write_bytes(target, b"old")
    with files.atomic_path(target) as temporary:
        temporary.write_bytes(b"new")
        assert target.read_bytes() == b"old"
        assert temporary.suffix == ".ply"
        assert temporary.parent == target.parent
    assert target.read_bytes() == b"new"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("failure", [ValueError("no"), KeyboardInterrupt(), BadInput("no")])
def test_a_block_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, failure):
    target = tmp_path / "model.ply"
    target.write_bytes(b"old")

    def write_half():
        with files.atomic_path(target) as temporary:
            temporary.write_bytes(b"half")
            raise failure

    with pytest.raises(type(failure)):
        write_half()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    def full(source, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(Gen3DError, match=r"model\.ply: No space left on device; free some space"):
        files.write_bytes(tmp_path / "model.ply", b"new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("failure", [OSError("encoder error -2"), BrokenPipeError(errno.EPIPE, "Broken pipe"), TimeoutError()])
def test_an_error_of_the_callers_own_is_not_taken_for_one_of_the_disk(tmp_path, failure):
    with pytest.raises(type(failure)) as caught, files.atomic_path(tmp_path / "video.mp4"):
        raise failure
    assert caught.value is failure
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_swept(tmp_path, monkeypatch):
    for name in (".lock", "model.ply", ".thesis"):
        (tmp_path / name).touch()
    with monkeypatch.context() as killed:
        killed.setattr(os, "replace", lambda source, target: None)
        for name in ("fit.ckpt", "plain", "two-words.safetensors"):
            with files.atomic_path(tmp_path / name) as temporary:
                (tmp_path / f"{temporary.name}").write_bytes(b"half")
    assert len(list(tmp_path.iterdir())) == 6
    files.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "model.ply", ".thesis"}
    files.sweep(tmp_path / "absent")


def test_the_mode_mask_is_set_once_only(tmp_path, monkeypatch):
    files.write_text(tmp_path / "first", "x")
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("another thread would see it"))
    files.write_text(tmp_path / "second", "x")


def test_results_have_the_permissions_that_the_user_is_used_to(tmp_path):
    plain = tmp_path / "plain"
    plain.touch()
    files.write_text(tmp_path / "ours", "x")
    assert (tmp_path / "ours").stat().st_mode == plain.stat().st_mode


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Gen3DError, match="could not write"):
        files.write_text(tmp_path / "file" / "below", "x")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)


@given(JSON)
def test_json_survives_a_round_trip(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("json") / "a.json"
    files.write_json(path, content)
    assert files.read_json(path) == content


def test_json_refuses_numbers_that_json_does_not_have(tmp_path):
    with pytest.raises(ValueError, match="JSON compliant"):
        files.write_json(tmp_path / "a.json", {"psnr": float("nan")})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.touch(), r"is empty \(0 bytes\)"),
        (lambda path: path.write_bytes(b"12345"), "has 5 bytes and at most 4 are read"),
    ],
)
def test_what_cannot_be_read_is_explained(tmp_path, make, reason):
    path = tmp_path / "input"
    make(path)
    with pytest.raises(BadInput, match=reason):
        files.read_bytes(path, limit=4)


def test_an_unreadable_file_is_explained(tmp_path, monkeypatch):
    path = tmp_path / "input"
    path.write_bytes(b"1")

    def refuse(self):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(BadInput, match="Permission denied; check the path"):
        files.read_bytes(path)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000])
def test_json_that_is_none_is_bad_input(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="is not valid JSON"):
        files.read_json(path)


def test_sha256_is_that_of_the_content(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 100_000)
    assert files.sha256(path) == hashlib.sha256(b"x" * 100_000).hexdigest()


def test_written_json_ends_with_a_newline(tmp_path):
    files.write_json(tmp_path / "a.json", {"a": 1})
    text = (tmp_path / "a.json").read_text()
    assert text.endswith("\n")
    assert json.loads(text) == {"a": 1}
