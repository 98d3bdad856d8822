"""config, models and doctor."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from gen3d.errors import BadInput, MissingWeights
from gen3d.pipeline.configuration import override, preset_names, read_preset
from gen3d.pipeline.stages.settings import PhotosSettings


class TestConfig:
    def test_list_names_every_preset(self, gen3d):
        code, out, _ = gen3d("config", "list")
        assert code == 0
        assert [line.split()[0] for line in out.splitlines()] == preset_names("photos")

    def test_show_prints_every_setting(self, gen3d):
        _, out, _ = gen3d("config", "show", "draft")
        expected = override(PhotosSettings(), read_preset("photos", "draft"), "draft")
        assert override(PhotosSettings(), yaml.safe_load(out), "shown") == expected

    def test_diff_prints_what_differs(self, gen3d):
        _, out, _ = gen3d("config", "diff", "draft", "high", "--json")
        changed = json.loads(out)["changed"]
        assert "max_size" in changed
        assert "seed" not in changed
        assert gen3d("config", "diff", "draft", "draft", "--json")[1] == '{"status": "done", "changed": {}}\n'

    @pytest.mark.parametrize("words", [["show"], ["show", "draft", "high"], ["diff", "draft"], ["list", "draft"]])
    def test_the_number_of_presets_is_checked(self, gen3d, words):
        code, _, err = gen3d("config", *words)
        assert code == 2
        assert f"gen3d config {words[0]} takes" in err

    def test_an_unknown_preset(self, gen3d):
        code, _, err = gen3d("config", "show", "drafty")
        assert (code, err) == (2, "error: the preset 'drafty' of gen3d photos is not known; did you mean draft?\n")


class TestModels:
    @pytest.fixture
    def zoo(self, monkeypatch, tmp_path):
        from gen3d.priors import zoo

        monkeypatch.setenv("GEN3D_CACHE", str(tmp_path))
        monkeypatch.setattr(zoo, "pull", lambda name, offline=None: Path(f"/cache/{name}"))
        return zoo

    def test_list_shows_licences(self, gen3d, zoo):
        code, out, _ = gen3d("models", "list")
        assert code == 0
        lines = out.splitlines()
        assert lines[0].split() == ["name", "size", "state", "licence"]
        assert {line.split()[0] for line in lines[1:]} == set(zoo.WEIGHTS)
        assert all("BSD" in line for line in lines[1:] if line.startswith("lpips"))
        assert all("not fetched" in line for line in lines[1:])

    def test_pull_names_the_files(self, gen3d, zoo):
        _, out, _ = gen3d("models", "pull", "lpips-alex", "--json")
        assert json.loads(out) == {"status": "done", "files": {"lpips-alex": "/cache/lpips-alex"}}
        _, out, _ = gen3d("models", "pull", "--json")
        assert set(json.loads(out)["files"]) == set(zoo.WEIGHTS)

    def test_offline_without_the_file_is_exit_code_4(self, gen3d, tmp_path, monkeypatch):
        monkeypatch.setenv("GEN3D_CACHE", str(tmp_path))
        code, _, err = gen3d("models", "pull", "lpips-alex", "--offline")
        assert code == 4
        assert "not in" in err

    def test_verify_checks_all_and_ends_with_the_first_failure(self, gen3d, zoo, monkeypatch):
        def verify(name):
            if name == "lpips-alex":
                raise BadInput("lpips-alex has changed")
            raise MissingWeights("lpips-vgg is not here")

        monkeypatch.setattr(zoo, "verify", verify)
        code, out, _ = gen3d("models", "verify", "--json")
        facts = json.loads(out)
        assert code == facts["exit_code"] == 6
        assert facts["status"] == "failed"
        assert facts["weights"]["lpips-vgg"] == "lpips-vgg is not here"
        monkeypatch.setattr(zoo, "verify", lambda name: Path(name))
        assert gen3d("models", "verify", "lpips-vgg")[:2] == (0, "lpips-vgg  ok\n")

    @pytest.mark.parametrize("action", ["pull", "verify"])
    def test_an_unknown_name(self, gen3d, zoo, action):
        code, _, err = gen3d("models", action, "lpips")
        assert code == 2
        assert "the weights 'lpips' are not known; choose lpips-alex" in err


class TestDoctor:
    def test_every_part_has_a_line(self, gen3d):
        from gen3d.cli.doctor import CHECKS

        code, out, _ = gen3d("doctor")
        assert code == 0
        assert [line.split("  ")[0] for line in out.splitlines()] == list(CHECKS)

    @pytest.fixture
    def bare_gpu_machine(self, monkeypatch):
        """A GPU, and neither gsplat nor embreex."""
        import torch

        from gen3d.renderers import gsplat_backend

        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        for name in ("gsplat", "gsplat.cuda._backend", "embreex"):
            monkeypatch.setitem(sys.modules, name, None)
        gsplat_backend.unavailable.cache_clear()
        yield
        gsplat_backend.unavailable.cache_clear()

    @pytest.mark.usefixtures("bare_gpu_machine")
    def test_what_is_missing_has_a_remedy(self, gen3d):
        code, out, _ = gen3d("doctor")
        missing = {line.split("  ")[0]: line for line in out.splitlines() if "  missing  " in line}
        assert code == 0
        assert {"gsplat", "embreex"} <= set(missing)
        assert missing["gsplat"].endswith("; run pip install -e '.[cuda]' in the checkout; until then jobs run on the CPU")
        assert missing["embreex"].endswith("; meshes cannot be drawn without; run pip install -e '.[mesh]' in the checkout")
        _, out, _ = gen3d("doctor", "--json")
        assert all(check["remedy"] for check in json.loads(out)["checks"] if not check["ok"])

    def test_a_native_library_of_another_build_is_told(self, gen3d, monkeypatch):
        from gen3d.renderers.native import backend

        monkeypatch.setattr(backend, "unavailable", lambda: "the library was built from other sources")
        code, out, _ = gen3d("doctor")
        line = next(line for line in out.splitlines() if line.startswith("native"))
        assert code == 0
        assert "missing" in line
        assert "the library was built from other sources; the slower torch reference draws instead" in line

    def test_kernels_of_other_sources_are_told(self, gen3d, monkeypatch):
        from gen3d.renderers.native import library

        if library.failure():
            pytest.skip(f"no native kernels: {library.failure()}")
        monkeypatch.setattr(library, "source_hash", lambda folder: "0123456789abcdef")
        for cached in (library.load, library.failure):
            cached.cache_clear()
        try:
            _, out, _ = gen3d("doctor")
        finally:
            for cached in (library.load, library.failure):
                cached.cache_clear()
        line = next(line for line in out.splitlines() if line.startswith("native"))
        assert "missing" in line
        assert "was compiled from other sources" in line
        assert "0123456789abcdef" in line

    def test_the_native_build_is_named(self, gen3d):
        from gen3d.renderers.native import backend

        _, out, _ = gen3d("doctor", "--json")
        (check,) = (check for check in json.loads(out)["checks"] if check["name"] == "native rasterizer")
        assert check["detail"] == backend.build_info()

    def test_torch_that_cannot_be_imported_is_a_failure(self, gen3d, monkeypatch):
        monkeypatch.setitem(sys.modules, "torch", None)
        code, out, _ = gen3d("doctor", "--json")
        checks = {check["name"]: check for check in json.loads(out)["checks"]}
        assert code == 1
        assert not checks["torch"]["ok"]
        assert checks["torch"]["needed"]
        assert checks["torch"]["remedy"] == "pip install --force-reinstall torch"
        assert all(check["remedy"] for check in checks.values())

    @pytest.mark.usefixtures("bare_gpu_machine")
    def test_no_remedy_asks_an_index_for_gen3d(self, gen3d):
        _, out, _ = gen3d("doctor")
        assert out.count("pip install -e") >= 2
        assert not re.search(r"pip install\b.*gen3d", out)

    def test_a_broken_part_does_not_hide_the_others(self, gen3d, monkeypatch):
        monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
        monkeypatch.setitem(sys.modules, "embreex", None)
        code, out, _ = gen3d("doctor", "--json")
        checks = {check["name"]: check for check in json.loads(out)["checks"]}
        assert code == 0
        assert not checks["ffmpeg"]["ok"]
        assert not checks["embreex"]["ok"]
        assert checks["torch"]["ok"]

    def test_a_needed_package_that_is_missing_is_a_failure(self, gen3d, monkeypatch):
        from importlib import metadata

        found = metadata.version

        def version(name):
            if name == "rich":
                raise metadata.PackageNotFoundError(name)
            return found(name)

        monkeypatch.setattr(metadata, "version", version)
        code, out, _ = gen3d("doctor", "--json")
        checks = {check["name"]: check for check in json.loads(out)["checks"]}
        assert code == 1
        assert checks["packages"]["remedy"] == "pip install rich"
