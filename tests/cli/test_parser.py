import dataclasses
import json

import pytest
import yaml

from gen3d.cli.parser import Parser
from gen3d.pipeline.configuration import as_yaml, override, read_preset
from gen3d.pipeline.stages.settings import PhotosSettings


@pytest.fixture
def settings(gen3d):
    """The settings that a command line amounts to."""

    def resolve(*arguments):
        code, out, err = gen3d("photos", *arguments, "--print-config")
        assert (code, err) == (0, "")
        return override(PhotosSettings(), yaml.safe_load(out), "the output")

    return resolve


@pytest.fixture
def files(tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("seed: 1\nholdout: 1\nfitting:\n  steps: 1\n  densify: {cap: 1, every: 1}\n")
    second.write_text("holdout: 2\nfitting:\n  densify: {cap: 2}\n")
    return first, second


def test_without_flags_the_dataclass_decides(settings):
    assert settings() == PhotosSettings()


def test_a_preset_goes_over_the_dataclass(settings):
    assert settings("--preset", "draft") == override(PhotosSettings(), read_preset("photos", "draft"), "draft")


def test_files_go_over_the_preset_and_flags_over_files_whatever_their_order(settings, files):
    first, second = files
    flags = ["--fitting.densify.cap", "3"]
    layers = ["--config", first, "--preset", "high", f"--config={second}"]
    expected = settings("--preset", "high")
    expected = override(expected, {"seed": 1, "holdout": 2, "fitting": {"steps": 1, "densify": {"cap": 3, "every": 1}}}, "expected")
    assert settings(*layers, *flags) == expected
    assert settings(*flags, *layers) == expected
    assert expected.fitting.seconds != PhotosSettings().fitting.seconds


def test_later_files_win(settings, files):
    first, second = files
    assert settings("--config", first, "--config", second).holdout == 2
    assert settings("--config", second, "--config", first).holdout == 1


@pytest.mark.parametrize("flag", ["--max-size", "--max_size", "--fitting.densify.prune-opacity", "--fitting.densify.prune_opacity"])
@pytest.mark.parametrize("joined", [True, False])
def test_dashes_and_underscores_are_the_same(settings, flag, joined):
    value = "64" if "size" in flag else "0.25"
    words = [f"{flag}={value}"] if joined else [flag, value]
    changed = settings(*words)
    assert changed.max_size == 64 or changed.fitting.densify.prune_opacity == 0.25


def test_dashes_in_values_stay(gen3d, photos, photos_stage):
    code, _, _ = gen3d("photos", photos, "--out=my-run")
    assert code == 0
    assert (photos.parent / "my-run" / "run.json").is_file()


def test_the_dump_of_a_run_can_be_given_back(gen3d, settings, tmp_path):
    _, out, _ = gen3d("photos", "--preset", "high", "--seed", "7", "--fitting.rates.means", "1.5e-5", "--print_config")
    path = tmp_path / "resolved.yaml"
    path.write_text(out)
    again = settings("--config", path)
    assert as_yaml(again) == out
    assert (again.seed, again.fitting.rates.means) == (7, 1.5e-5)


def test_print_config_as_json(gen3d):
    _, out, _ = gen3d("photos", "--print-config", "--json", "--seed", "5")
    assert json.loads(out)["seed"] == 5


@pytest.mark.parametrize(
    ("content", "code", "reason"),
    [
        ("fitting: {stps: 3}", 2, "the setting fitting.stps is not known; did you mean fitting.steps?"),
        ("sed: 3", 2, "the setting sed is not known; did you mean seed?"),
        ("seed: many", 2, "the setting seed is 'many'; it must be of type int"),
        ("folder: a", 2, "the setting folder is not known"),
        ("a: [", 6, "is not valid YAML"),
        ("", 6, "is empty (0 bytes)"),
    ],
)
def test_a_wrong_file_is_named(gen3d, tmp_path, content, code, reason):
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    got, out, err = gen3d("photos", ".", "--config", path)
    assert (got, out) == (code, "")
    assert err.startswith(f"error: {path}")
    assert reason in err


def test_a_file_that_is_not_there(gen3d):
    code, _, err = gen3d("photos", ".", "--config", "nowhere.yaml")
    assert (code, err) == (6, "error: nowhere.yaml does not exist; give the path of a file\n")


def test_help_shows_words_defaults_and_the_preset_in_force(gen3d):
    code, out, _ = gen3d("photos", "--help")
    words = " ".join(out.split())
    assert code == 0
    assert "usage: gen3d photos FOLDER [flags]" in words
    assert "the only source of randomness. (0)" in words
    assert "type:" not in words
    _, high, _ = gen3d("photos", "--preset", "high", "--help")
    size = read_preset("photos", "high")["max_size"]
    assert f"longest side of the photos in pixels after downscaling. ({size})" in " ".join(high.split())


def test_flags_of_booleans_take_a_value(settings):
    assert settings("--fitting.antialias", "true").fitting.antialias is True
    assert settings("--fitting.random-background", "false").fitting.random_background is False


def test_a_file_may_hold_one_group(settings, tmp_path):
    (tmp_path / "densify.yaml").write_text("cap: 4000\n")
    chosen = settings("--preset", "draft", "--fitting.densify", str(tmp_path / "densify.yaml"))
    assert chosen.fitting.densify.cap == 4000
    assert chosen.fitting.seconds == settings("--preset", "draft").fitting.seconds


def test_lists_of_numbers_need_no_brackets():
    @dataclasses.dataclass(frozen=True)
    class Angles:
        azimuth: tuple[float, ...] = (0.0,)
        name: str = ""

    def parsed(*words):
        parser = Parser("try", "a test")
        parser.add_settings(Angles)
        return parser.parse(words).settings

    assert parsed("--azimuth", "0,-90.5").azimuth == (0.0, -90.5)
    assert parsed("--azimuth=-10,90").azimuth == (-10.0, 90.0)
    assert parsed("--azimuth", "[0, 90]").azimuth == (0.0, 90.0)
    assert parsed("--azimuth", "45").azimuth == (45.0,)
    assert parsed("--name", "1,2").name == "1,2"
