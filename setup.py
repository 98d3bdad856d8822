"""Builds the native rasterizer: one library per instruction set from one source. Without a compiler the install still succeeds."""

import platform
import runpy
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

NATIVE = "renderers/native"
HASH = runpy.run_path(f"{NATIVE}/source.py")["source_hash"](Path(NATIVE))
FLAGS = ["-O3", "-std=c++17", "-pthread", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-fvisibility=hidden", "-g0"]
LIBRARIES = {"gen3d_baseline": []}
if platform.machine().lower() in ("x86_64", "amd64"):
    LIBRARIES |= {"gen3d_avx2": ["-march=x86-64-v3"], "gen3d_avx512": ["-march=x86-64-v4"]}


class BuildLibraries(build_ext):
    """Plain shared libraries with a C interface: no Python in them, so no Python version in their names."""

    def get_ext_filename(self, fullname):
        return str(Path(*fullname.split("."))) + ".so"

    def build_extension(self, ext):
        # One object file name, several sets of flags: each library needs a folder of its own.
        shared, self.build_temp = self.build_temp, str(Path(self.build_temp, ext.name))
        try:
            super().build_extension(ext)
        finally:
            self.build_temp = shared


class PlatformWheel(bdist_wheel):
    """One wheel per platform serves every Python 3."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


def library(name, flags):
    hide = [f"-Wl,--version-script={NATIVE}/exports.map"] if sys.platform == "linux" else []
    return Extension(
        f"gen3d.renderers.native.{name}",
        sources=[f"{NATIVE}/native.cpp"],
        depends=[f"{NATIVE}/exports.map", f"{NATIVE}/source.py", *sorted(map(str, Path(NATIVE).glob("*.h")))],
        define_macros=[("GEN3D_SOURCE_HASH", f'"{HASH}"')],
        extra_compile_args=[*FLAGS, *flags],
        extra_link_args=["-pthread", *hide],
        language="c++",
        optional=True,
    )


setup(
    ext_modules=[library(name, flags) for name, flags in LIBRARIES.items()],
    cmdclass={"build_ext": BuildLibraries, "bdist_wheel": PlatformWheel},
)
