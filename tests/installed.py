"""Checks of an installed wheel, run by its own interpreter outside the checkout."""

import importlib
import pkgutil
from pathlib import Path

import gen3d
from gen3d.renderers.native import backend

KERNELS = "gen3d_"  # plain libraries beside the modules, which ctypes loads
COMMAND = "gen3d.__main__"


def main() -> None:
    here = Path(gen3d.__file__).parent
    assert "site-packages" in here.parts, f"gen3d was imported from {here}, not from the wheel"
    names = [module.name for module in pkgutil.walk_packages(gen3d.__path__, "gen3d.")]
    for name in names:
        if name != COMMAND and not name.rpartition(".")[2].startswith(KERNELS):
            importlib.import_module(name)
    assert backend.unavailable() is None, backend.unavailable()
    print(f"{len(names)} modules import from {here}")


if __name__ == "__main__":
    main()
