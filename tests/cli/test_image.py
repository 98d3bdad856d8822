"""`gen3d image`: flags, files, errors."""

import json

import pytest
import torch

from gen3d.pipeline.formats.images import write_image
from gen3d.priors.multiview.network import MultiviewNetwork
from gen3d.priors.multiview.settings import MultiviewSettings
from gen3d.priors.multiview.weights import save_network


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """A tiny network, and a picture beside it; the working folder holds both."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_network(MultiviewNetwork(MultiviewSettings(size=16, channels=(16, 32), groups=8, heads=2, layers=2, text=8)), "tiny.safetensors")
    picture = torch.zeros(40, 40, 4)
    picture[10:30, 12:28] = torch.tensor([0.2, 0.5, 0.3, 1.0])
    write_image("box.png", picture)
    return tmp_path


def test_a_picture_becomes_a_run(gen3d, weights):
    code, out, _ = gen3d("image", "box.png", "--weights", "tiny.safetensors", "--steps", "2", "--no_mesh", "--out", "run", "--json", "-q")
    facts = json.loads(out)
    assert (code, facts["verb"], facts["status"]) == (0, "image", "done")
    assert {"model.ply", "contact_sheet.png", "metrics.json"} <= set(facts["files"])
    assert "input_psnr" in facts["metrics"]


def test_presets_are_there(gen3d, weights):
    for name, words in (("draft", "mode: one-step"), ("high", "seeds: 4")):
        code, out, _ = gen3d("image", "box.png", "--preset", name, "--print_config")
        assert code == 0
        assert words in out


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (["nothing.png"], 6, "nothing.png does not exist; give a picture"),
        (["box.png", "--mask", "no.png"], 6, "no.png does not exist"),
        (["box.png", "--weights", "none.safetensors", "--no_mesh"], 6, "cannot be read as weights"),
        (["box.png", "--mode", "quick"], 2, "choose one of sampled, one-step"),
        (["box.png", "--elevation", "89"], 2, "elevation is 89"),
        (["box.png", "box.png"], 2, "there are 2 pictures and the azimuths 0; give one for each, such as --azimuth 0,90"),
        (["box.png", "--azimuth", "0,0"], 2, "azimuth is [0, 0]"),
        (["box.png", "--mask", "box.png", "box.png"], 2, "there are 2 masks for 1 pictures"),
    ],
)
def test_what_is_wrong_is_told(gen3d, weights, flags, code, words):
    result, _, err = gen3d("image", *flags, "--out", "run")
    assert (result, words in err) == (code, True), err


def test_pictures_of_every_kind_are_read_or_refused(gen3d, weights):
    from PIL import Image

    Image.new("CMYK", (50, 50), (10, 200, 30, 0)).save("cmyk.jpg")
    Image.new("RGB", (1, 1)).save("dot.png")
    Image.new("RGB", (1, 1)).save("dot-mask.png")
    Image.new("RGBA", (64, 64), (0, 0, 0, 0)).save("empty.png")
    (weights / "cut.png").write_bytes((weights / "box.png").read_bytes()[:60])
    mask = Image.new("L", (50, 50))
    mask.paste(255, (10, 10, 40, 40))
    mask.save("mask.png")
    run = ["--weights", "tiny.safetensors", "--mode", "one-step", "--no_mesh", "-q", "--overwrite", "--out", "run"]
    assert gen3d("image", "cmyk.jpg", "--mask", "mask.png", *run)[0] == 0
    for name, words in (("dot.png", "no object stands out"), ("empty.png", "no object stands out"), ("cut.png", "cut.png")):
        code, _, err = gen3d("image", name, *(["--mask", "dot-mask.png"] if name == "dot.png" else []), *run)
        assert (code, words in err) == (6, True), err
