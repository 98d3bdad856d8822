import sys

import pytest

from gen3d.errors import MissingDependency
from gen3d.optional import require


def test_a_package_that_is_there_is_returned():
    assert require("json", extra="mesh", purpose="reading") is sys.modules["json"]


def test_a_missing_package_names_the_purpose_and_the_extra():
    with pytest.raises(
        MissingDependency, match=r"rendering meshes needs the package no_such_package.*pip install -e '\.\[mesh\]' in the checkout"
    ):
        require("no_such_package", extra="mesh", purpose="rendering meshes")


def test_a_package_whose_own_library_is_missing_says_so(tmp_path, monkeypatch):
    (tmp_path / "half_there.py").write_text("raise ImportError('libusb-1.0.so.0: cannot open')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingDependency, match="libusb"):
        require("half_there", extra="mesh", purpose="meshing")
