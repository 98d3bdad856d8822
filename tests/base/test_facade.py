import re
import subprocess
import sys

import pytest

import gen3d

HEAVY = ("torch", "numpy", "lightning", "scipy", "PIL", "rich", "yaml", "jsonargparse")


def test_importing_the_package_imports_nothing_heavy():
    code = f"import gen3d, sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_the_public_names_are_listed():
    assert set(dir(gen3d)) == set(gen3d.__all__)
    assert {"load", "photos_to_3d", "Asset"} <= set(gen3d.__all__)


@pytest.mark.parametrize("name", sorted(set(gen3d.__all__) - {"__version__"}))
def test_every_public_name_can_be_had(name):
    assert callable(getattr(gen3d, name))


def test_an_unknown_name_says_which_there_are():
    with pytest.raises(AttributeError, match=r"no attribute 'splat'; it has .*load"):
        gen3d.splat  # noqa: B018


def test_the_version_is_a_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+", gen3d.__version__)
