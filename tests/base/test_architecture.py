"""The structure of the code: what may import what, and how much a first import costs."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LAYERS = ["base", "renderers", "priors", "pipeline", "cli"]  # from the ground up
FOLDERS = {"base": ROOT / "src" / "gen3d", **{name: ROOT / name for name in LAYERS[1:]}}
# The façade and __main__ name things of every layer, but import them only when they are used.
FACADE = {ROOT / "src" / "gen3d" / "__init__.py", ROOT / "src" / "gen3d" / "__main__.py"}


def imported_modules(path: Path) -> set[str]:
    """Absolute names that a file imports anywhere, functions included."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def layer_of(module: str) -> str | None:
    parts = module.split(".")
    if parts[0] != "gen3d":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in LAYERS else "base"


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_run_downwards(layer):
    files = [path for path in FOLDERS[layer].rglob("*.py") if path not in FACADE]
    assert files
    for path in files:
        for module in imported_modules(path):
            other = layer_of(module)
            if other in LAYERS:
                assert LAYERS.index(other) <= LAYERS.index(layer), f"{path.relative_to(ROOT)} imports {module}"


@pytest.mark.parametrize("layer", LAYERS)
def test_nobody_imports_the_second_copy(layer):
    for path in FOLDERS[layer].rglob("*.py"):
        tops = {module.split(".")[0] for module in imported_modules(path)}
        assert not tops & {"renderers", "priors", "pipeline", "cli", "configs"}, path


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print('\\n'.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in result.stdout.splitlines()}


def test_import_gen3d_costs_nothing():
    assert not loaded_after("import gen3d; gen3d.__version__") & {"torch", "numpy", "lightning", "jsonargparse", "rich"}


def test_settings_need_the_standard_library_only():
    for path in ROOT.glob("pipeline/**/settings.py"):
        module = "gen3d." + ".".join(path.relative_to(ROOT).with_suffix("").parts)
        assert not loaded_after(f"import {module}") & {"torch", "numpy", "lightning"}, module


def test_every_file_stays_readable():
    for layer in LAYERS:
        for path in FOLDERS[layer].rglob("*.py"):
            assert len(path.read_text().splitlines()) <= 400, f"{path.relative_to(ROOT)} should be divided"
