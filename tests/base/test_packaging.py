"""pyproject.toml against the folders."""

import tomllib
from pathlib import Path

import gen3d

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAPPED = {"gen3d": "src/gen3d", **{f"gen3d.{name}": name for name in ("cli", "configs", "pipeline", "priors", "renderers")}}


def test_every_package_is_listed():
    found = set()
    for package, folder in MAPPED.items():
        for init in (ROOT / folder).rglob("__init__.py"):
            found.add(".".join([package, *init.parent.relative_to(ROOT / folder).parts]))
    assert found == set(PROJECT["tool"]["setuptools"]["packages"])


def test_folders_are_mapped():
    assert PROJECT["tool"]["setuptools"]["package-dir"] == MAPPED


def test_every_module_lies_in_a_package():
    for folder in MAPPED.values():
        for module in (ROOT / folder).rglob("*.py"):
            assert (module.parent / "__init__.py").exists(), module


def test_one_version():
    assert PROJECT["project"]["version"] == gen3d.__version__


def test_licences():
    names = {entry.split(">")[0].split("[")[0] for entry in PROJECT["project"]["dependencies"]}
    assert not names & {"plyfile", "pymeshlab", "nvdiffrast", "torchvision", "rembg"}
    assert "Apache License" in (ROOT / "LICENSE").read_text()
