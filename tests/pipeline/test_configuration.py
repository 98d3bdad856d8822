from dataclasses import dataclass, field

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gen3d.errors import BadInput, UsageError
from gen3d.pipeline import configuration
from gen3d.pipeline.stages.settings import PhotosSettings


@dataclass(frozen=True)
class Inner:
    steps: int = 10
    rate: float = 1e-5
    name: str = "adam"
    cap: int | None = None
    on: bool = False


@dataclass(frozen=True)
class Outer:
    seed: int = 0
    inner: Inner = field(default_factory=Inner)


def test_a_layer_changes_what_it_names_and_nothing_else():
    changed = configuration.override(Outer(seed=4), {"inner": {"steps": 3, "cap": 7}}, "a.yaml")
    assert changed == Outer(seed=4, inner=Inner(steps=3, cap=7))


def test_later_layers_win():
    settings = Outer()
    for layer in ({"seed": 1, "inner": {"steps": 1}}, {"inner": {"steps": 2}}):
        settings = configuration.override(settings, layer, "a layer")
    assert settings == Outer(seed=1, inner=Inner(steps=2))


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ({"sed": 1}, r"the setting sed is not known; did you mean seed\?"),
        ({"inner": {"step": 1}}, r"the setting inner.step is not known; did you mean inner.steps\?"),
        ({"steps": 1}, r"the setting steps is not known; did you mean inner.steps\?"),
        ({"zzz": 1}, "the setting zzz is not known; known are inner.cap, "),
        ({"inner": 3}, "inner is a group of settings, not 3"),
        ({"seed": "x"}, "the setting seed is 'x'; it must be of type int"),
        ({"seed": 1.0}, "the setting seed is 1.0; it must be of type int"),
        ({"seed": True}, "the setting seed is True; it must be of type int"),
        ({"inner": {"cap": "many"}}, "inner.cap is 'many'; it must be of type int or null"),
        ({"inner": {"on": 1}}, "inner.on is 1; it must be of type bool"),
        ({"inner": {"rate": "fast"}}, "inner.rate is 'fast'; it must be of type float"),
        ({"inner": {"rate": float("nan")}}, "inner.rate is nan; it must be a finite number"),
        ({"inner": {"rate": "-inf"}}, "inner.rate is -inf; it must be a finite number"),
        ({"inner": {"rate": 10**400}}, "inner.rate is inf; it must be a finite number"),
        ({"seed": -(10**400)}, "seed is -inf; it must be a finite number"),
        ({"inner": {"name": None}}, "inner.name is None; it must be of type str"),
    ],
)
def test_a_wrong_layer_is_explained_with_its_source(layer, reason):
    with pytest.raises(UsageError, match=f"^mine.yaml: .*{reason}"):
        configuration.override(Outer(), layer, "mine.yaml")


@pytest.mark.parametrize(("written", "value"), [("1", 1.0), ("1e-3", 1e-3), ("2.5", 2.5)])
def test_every_way_to_write_a_number_is_a_float(tmp_path, written, value):
    path = tmp_path / "a.yaml"
    path.write_text(f"inner:\n  rate: {written}\n")
    rate = configuration.override(Outer(), configuration.read_layer(path), str(path)).inner.rate
    assert rate == value
    assert type(rate) is float


@given(
    st.builds(
        Outer,
        seed=st.integers(),
        inner=st.builds(
            Inner,
            steps=st.integers(),
            rate=st.floats(allow_nan=False, allow_infinity=False),
            name=st.text(st.characters(codec="utf-8")),
            cap=st.none() | st.integers(),
            on=st.booleans(),
        ),
    )
)
def test_settings_survive_yaml(settings):
    layer = yaml.safe_load(configuration.as_yaml(settings))
    assert configuration.override(Outer(), layer, "yaml") == settings


def test_the_digest_tells_settings_apart():
    assert configuration.digest(Outer()) == configuration.digest(Outer(seed=0))
    assert configuration.digest(Outer()) != configuration.digest(Outer(inner=Inner(rate=1.0001e-5)))


@pytest.mark.parametrize(
    "content", [b"- 1\n- 2\n", b"a: [", b"3", b"\xff\xfe\x00", b"1: 2", b"a: b: c", b"a: 2026-02-30", b"a: " + b"9" * 5000]
)
def test_files_that_hold_no_settings_are_bad_input(tmp_path, content):
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(BadInput, match=r"a\.yaml"):
        configuration.read_layer(path)


def test_yaml_runs_no_code(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("seed: !!python/object/apply:os.getpid []\n")
    with pytest.raises(BadInput, match="is not valid YAML"):
        configuration.read_layer(path)


def test_a_file_of_comments_changes_nothing(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("# nothing yet\n")
    assert configuration.read_layer(path) == {}


@pytest.mark.parametrize("name", configuration.preset_names("photos"))
def test_every_preset_fits_its_settings_and_says_what_it_is_for(name):
    settings = configuration.override(PhotosSettings(), configuration.read_preset("photos", name), name)
    assert (settings == PhotosSettings()) == (name == "standard")  # what a job without a preset gets
    assert len(configuration.preset_summary("photos", name)) > 10


def test_the_presets_go_from_quick_to_good():
    assert configuration.preset_names("photos") == ["draft", "standard", "high"]


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(UsageError, match=r"the preset 'standart' of gen3d photos is not known; did you mean standard\?"):
        configuration.read_preset("photos", "standart")
