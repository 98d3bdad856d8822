"""`gen3d doctor`: what works on this machine, and how to mend the rest."""

import importlib
import platform
import sys
from collections.abc import Callable
from importlib import metadata
from types import SimpleNamespace
from typing import NamedTuple

import gen3d
from gen3d.cli.parser import Parser
from gen3d.cli.report import Report, table
from gen3d.optional import how_to_install

PACKAGES = ("torch", "numpy", "scipy", "pillow", "trimesh", "lightning", "safetensors", "jsonargparse", "rich")
MESHING = ("open3d", "xatlas")
AGAIN = "run pip install -e . in the checkout again"  # only for gen3d's own parts


class Found(NamedTuple):
    """What a look found.

    Attributes:
        ok: whether the part works.
        detail: in words.
        remedy: what to do here, where that depends on what was found.
    """

    ok: bool
    detail: str
    remedy: str = ""


class Check(NamedTuple):
    """A part of gen3d or of this machine.

    Attributes:
        look: tries the part; what it raises is a finding too.
        needed: whether gen3d cannot work without.
        remedy: what to do when it does not work.
    """

    look: Callable[[], Found]
    needed: bool
    remedy: str


def configure(parser: Parser) -> None:
    """No flags of its own."""


def execute(options: SimpleNamespace) -> Report:
    """Look at everything; a broken part must not hide the others."""
    facts, rows = [], []
    for name, check in CHECKS.items():
        found = _guarded(check.look)
        remedy = found.remedy or check.remedy
        facts.append({"name": name, "ok": found.ok, "detail": found.detail, "remedy": remedy, "needed": check.needed})
        rows.append((name, "ok", found.detail) if found.ok else (name, "missing", f"{found.detail}; {remedy}"))
    broken = any(fact["needed"] and not fact["ok"] for fact in facts)
    return Report({"checks": facts}, table(rows), 1 if broken else 0)


def _guarded(look: Callable[[], Found]) -> Found:
    try:
        return look()
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        return Found(False, f"{type(error).__name__}: {reason}")


def _python() -> Found:
    return Found(sys.version_info >= (3, 11), f"{platform.python_version()} on {platform.platform()}")


def _packages() -> Found:
    versions, missing = [f"gen3d {gen3d.__version__}"], []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Found(False, f"without {', '.join(missing)}", f"pip install {' '.join(missing)}")
    return Found(True, ", ".join(versions))


def _torch() -> Found:
    import torch

    kind = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    return Found(True, f"{torch.__version__} ({kind}), {torch.get_num_threads()} threads")


def _cuda() -> Found:
    import torch

    if not torch.cuda.is_available():
        return Found(False, "torch finds no device")
    memory = torch.cuda.get_device_properties(0).total_memory / 1024**3
    return Found(True, f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}, {memory:.0f} GiB")


def _native() -> Found:
    from gen3d.renderers.native import backend

    reason = backend.unavailable()
    return Found(reason is None, reason or backend.build_info())


def _gsplat() -> Found:
    import torch

    if not torch.cuda.is_available():
        return Found(False, "not tried without CUDA", "nothing to do: the native rasterizer draws on the CPU")
    from gen3d.renderers import gsplat_backend

    reason = gsplat_backend.unavailable()
    return Found(reason is None, reason or metadata.version("gsplat"))


def _embree() -> Found:
    importlib.import_module("embreex")
    return Found(True, metadata.version("embreex"))


def _meshing() -> Found:
    versions, missing = [], []
    for name in MESHING:
        try:
            importlib.import_module(name)
            versions.append(f"{name} {metadata.version(name)}")
        except ImportError as error:
            missing.append(f"{name} ({error})")
    return Found(not missing, f"without {', '.join(missing)}" if missing else ", ".join(versions))


def _ffmpeg() -> Found:
    import imageio_ffmpeg

    return Found(True, imageio_ffmpeg.get_ffmpeg_exe())


def _weights() -> Found:
    from gen3d.priors import zoo

    stored = zoo.list_weights()
    absent = [each.weight.name for each in stored if not each.present]
    place = f"{len(stored) - len(absent)} of {len(stored)} in {zoo.cache_root()}" + (", network switched off" if zoo.is_offline() else "")
    return Found(not absent, place, f"gen3d models pull {' '.join(absent)}")


CHECKS = {
    "Python": Check(_python, True, "use Python 3.11 or newer"),
    "packages": Check(_packages, True, AGAIN),
    "torch": Check(_torch, True, "pip install --force-reinstall torch"),
    "CUDA": Check(_cuda, False, "jobs run on the CPU; with an NVIDIA GPU, update its driver and install a CUDA build of torch"),
    "native rasterizer": Check(_native, False, f"the slower torch reference draws instead; {AGAIN}, with a C++ compiler"),
    "gsplat": Check(_gsplat, False, "until then jobs run on the CPU"),
    "embreex": Check(_embree, False, f"meshes cannot be drawn without; {how_to_install('mesh')}"),
    "meshing": Check(_meshing, False, f"meshes are coarser or without texture; {how_to_install('mesh')}"),
    "ffmpeg": Check(_ffmpeg, False, "pip install --force-reinstall imageio-ffmpeg"),
    "weights": Check(_weights, False, AGAIN),
}
