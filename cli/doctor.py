"""`gen3d doctor`: what works on this machine, and how to mend the rest."""

import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from types import SimpleNamespace

import gen3d
from gen3d.cli.parser import Parser
from gen3d.cli.report import Report, table
from gen3d.optional import require

PACKAGES = ("torch", "numpy", "scipy", "pillow", "trimesh", "lightning", "safetensors", "jsonargparse", "rich")


@dataclass(frozen=True)
class Check:
    """One line of the answer.

    Attributes:
        name: what was looked at.
        ok: whether it works.
        detail: what was found.
        remedy: what to do when it does not.
        needed: whether gen3d cannot work without.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    needed: bool = False


def configure(parser: Parser) -> None:
    """No flags of its own."""


def execute(options: SimpleNamespace) -> Report:
    """Look at everything; a broken part must not hide the others."""
    checks = [_guarded(name, look) for name, look in CHECKS.items()]
    broken = [check for check in checks if check.needed and not check.ok]
    rows = []
    for check in checks:
        remedy = f"; {check.remedy}" if check.remedy and not check.ok else ""
        rows.append((check.name, "ok" if check.ok else "missing", f"{check.detail}{remedy}"))
    return Report({"checks": [asdict(check) for check in checks]}, table(rows), 1 if broken else 0)


def _guarded(name: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        return Check(name, False, f"{type(error).__name__}: {reason}", "install gen3d again: pip install --force-reinstall gen3d")


def _python() -> Check:
    good = sys.version_info >= (3, 11)
    return Check("Python", good, f"{platform.python_version()} on {platform.platform()}", "use Python 3.11 or newer", needed=True)


def _packages() -> Check:
    versions, missing = [f"gen3d {gen3d.__version__}"], []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Check("packages", False, f"without {', '.join(missing)}", f"pip install {' '.join(missing)}", needed=True)
    return Check("packages", True, ", ".join(versions), needed=True)


def _torch() -> Check:
    import torch

    kind = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    return Check("torch", True, f"{torch.__version__} ({kind}), {torch.get_num_threads()} threads", needed=True)


def _cuda() -> Check:
    import torch

    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory / 1024**3
        return Check("CUDA", True, f"{torch.cuda.device_count()} x {torch.cuda.get_device_name(0)}, {memory:.0f} GiB")
    remedy = "jobs run on the CPU; with an NVIDIA GPU, update its driver and install a CUDA build of torch"
    return Check("CUDA", False, "torch finds no device", remedy)


def _native() -> Check:
    from gen3d.renderers.native import backend

    reason = backend.unavailable()
    remedy = "the slower torch reference draws instead; with a C++ compiler: pip install --force-reinstall --no-deps gen3d"
    return Check("native rasterizer", reason is None, reason or backend.build_info(), remedy)


def _gsplat() -> Check:
    import torch

    if not torch.cuda.is_available():
        return Check("gsplat", False, "not tried without CUDA", "nothing to do: the native rasterizer draws on the CPU")
    from gen3d.renderers import gsplat_backend

    reason = gsplat_backend.unavailable()
    return Check("gsplat", reason is None, reason or metadata.version("gsplat"), "the torch reference draws on CUDA instead")


def _embree() -> Check:
    require("embreex", extra="mesh", purpose="rendering meshes")
    return Check("embreex", True, metadata.version("embreex"))


def _ffmpeg() -> Check:
    import imageio_ffmpeg

    return Check("ffmpeg", True, imageio_ffmpeg.get_ffmpeg_exe())


def _weights() -> Check:
    from gen3d.priors import zoo

    stored = zoo.list_weights()
    absent = [each.weight.name for each in stored if not each.present]
    place = f"{len(stored) - len(absent)} of {len(stored)} in {zoo.cache_root()}" + (", network switched off" if zoo.is_offline() else "")
    return Check("weights", not absent, place, f"gen3d models pull {' '.join(absent)}")


CHECKS: dict[str, Callable[[], Check]] = {
    "Python": _python,
    "packages": _packages,
    "torch": _torch,
    "CUDA": _cuda,
    "native rasterizer": _native,
    "gsplat": _gsplat,
    "embreex": _embree,
    "ffmpeg": _ffmpeg,
    "weights": _weights,
}
