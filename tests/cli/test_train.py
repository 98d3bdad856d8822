"""`gen3d train`: from a rendered set to weights, on one process and on two."""

import csv
import json
import os
import subprocess
import sys

import pytest
import torch

from gen3d.pipeline.objects.holdout import held_out
from gen3d.pipeline.objects.object_set import ObjectSet
from gen3d.pipeline.objects.settings import RenderSettings
from gen3d.pipeline.volumes.volume_set import VolumeSet
from gen3d.priors.multiview.weights import load_network
from gen3d.priors.volume.words import load_words

SMALL = [
    *(
        "--network.size=24",
        "--network.channels=[16,32]",
        "--network.groups=8",
        "--network.heads=2",
        "--network.layers=2",
        "--network.text=8",
    ),
    *(
        "--steps=4",
        "--objects=4",
        "--joint_objects=2",
        "--targets=2",
        "--warmup=0",
        "--joint=0.5",
        "--holdout=2",
        "--check=4",
        "--rate=0.2",
    ),
    *("--optimizer=adamw", "--accelerator=cpu", "--precision=32-true"),
]

UNSEEN = {"gvgen-field": [], "gvgen-attributes": ["--perceptual=0"]}  # LPIPS would have to be fetched


@pytest.fixture(scope="module")
def rendered(box_set):
    """A set of five boxes."""
    return box_set(RenderSettings(size=24, views=10), ["train"] * 5)


def weights(folder):
    state = torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]
    return torch.cat([value.flatten() for name, value in state.items() if name.startswith("network.")])


def sources(folder):
    """Ids and licences of what a training says that it learned from."""
    with (folder / "training-data.csv").open(newline="") as file:
        return {(row["id"], row["licence"]) for row in csv.DictReader(file)}


def learned_from(objects):
    """Ids and licences of a set but for the hold-out of two objects."""
    kept = held_out([record.id for record in objects.records], 2)
    return {(record.id, record.licence) for record in objects.records if record.id not in kept}


def test_a_training_ends_with_weights_that_load(gen3d, rendered, tmp_path):
    code, out, _ = gen3d("train", "dsplats", "--data", str(rendered), "--out", str(tmp_path / "run"), *SMALL, "--json", "-q")
    facts = json.loads(out)
    assert (code, facts["status"], facts["steps"]) == (0, "done", 4)
    assert 0 < facts["check/psnr"] < 40
    assert load_network(facts["weights"]).settings.channels == (16, 32)
    assert "channels" in (tmp_path / "run" / "settings.yaml").read_text()
    assert sources(tmp_path / "run") == learned_from(ObjectSet(rendered))
    more = ["--init", facts["weights"], "--steps=1", "--rate=0", "--average=0", "--check=1"]
    code, out, _ = gen3d("train", "dsplats", "--data", str(rendered), "--out", str(tmp_path / "more"), *SMALL, *more, "--json", "-q")
    assert (code, json.loads(out)["check/psnr"]) == (0, pytest.approx(facts["check/psnr"], abs=0.05))
    again, text, _ = gen3d("train", "dsplats", "--data", str(rendered), "--out", str(tmp_path / "run"), *SMALL, "-q")
    assert again == 0
    assert text.startswith("step 4 reached, 0.0 minutes in this run: check/psnr ")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--out", "x"], "needs --data"),
        (["--data", "set"], "needs --out"),
        (["--data", "nowhere", "--out", "x"], "holds no rendered set"),
        (["--data", "x", "--out", "y", "--weight", "best"], "the setting weight is 'best'; choose one of uniform"),
        (["--data", "x", "--out", "y", "--preset", "best"], "preset"),
    ],
)
def test_what_is_missing_or_wrong_is_told(gen3d, flags, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = gen3d("train", "dsplats", *flags)
    assert code in (2, 6)
    assert words in err


def test_pictures_of_another_size_are_told(gen3d, rendered, tmp_path):
    code, _, err = gen3d("train", "dsplats", "--data", str(rendered), "--out", str(tmp_path / "run"))
    assert code == 6
    assert "has pictures of 24 pixels and the network takes 64; say --network.size 24" in err


def check_two_processes_are_one(prior, data, flags, last, tmp_path, rounding=1e-6):
    """The same global batch over two processes gives the weights of one process; the last layer began at zero."""
    places = {name: tmp_path / name for name in ("one", "two")}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for name, more in (("one", ["--devices=1"]), ("two", ["--devices=2", "--strategy=ddp"])):
        command = [sys.executable, "-m", "gen3d", "train", prior, "--data", data, "--out", places[name], *flags, *more, "-q"]
        told = subprocess.run([str(word) for word in command], check=True, env=environment, timeout=240, capture_output=True, text=True)
        assert told.stdout.count("minutes in this run") == 1
    one, two = (weights(place) for place in places.values())
    assert float(torch.load(places["one"] / "last.ckpt", weights_only=True)["state_dict"][f"network.{last}.weight"].abs().mean()) > 1e-3
    assert torch.allclose(one, two, atol=200 * rounding)  # optimisers make much of rounding where a gradient is almost zero
    assert float((one - two).abs().mean()) < rounding


@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "rounding"), [("adamw", 1e-6), ("muon", 2e-5)])  # muon's iteration has half precision
def test_two_processes_are_one(rendered, tmp_path, optimizer, rounding):
    check_two_processes_are_one("dsplats", rendered, [*SMALL, f"--optimizer={optimizer}"], "unet.conv_out", tmp_path, rounding)


@pytest.fixture(scope="module")
def volumes(rendered, tmp_path_factory):
    """Volumes of the boxes, and flags of a network that reads with a tiny encoder."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from scenes import save_pipeline

    from gen3d.pipeline.progress import Silent
    from gen3d.pipeline.volumes.fit_set import fit_volumes
    from gen3d.pipeline.volumes.settings import VolumeSettings

    folder = tmp_path_factory.mktemp("volumes")
    fit_volumes(rendered, folder / "volumes", VolumeSettings(size=8, steps=5), Silent(), workers=1)
    source = save_pipeline(folder / "sd")
    transformers.CLIPTextModel.from_pretrained(source / "text_encoder").save_pretrained(folder / "clip")
    transformers.CLIPTokenizer.from_pretrained(source / "tokenizer").save_pretrained(folder / "clip")
    shape = {"size": 8, "channels": "[16,32]", "head": 8, "groups": 8, "text": 8, "encoder": folder / "clip"}
    flags = [f"--network.{name}={value}" for name, value in shape.items()]
    return folder / "volumes", [*flags, "--steps=4", "--objects=2", "--holdout=2", "--check=4", "--rate=0.2", "--phrases=2", *SMALL[-3:]]


@pytest.mark.slow
@pytest.mark.parametrize("prior", UNSEEN)
def test_two_processes_are_one_for_volumes_too(prior, volumes, tmp_path):
    data, flags = volumes
    check_two_processes_are_one(prior, data, [*flags, *UNSEEN[prior]], "leave", tmp_path)


def test_volumes_and_words_become_networks(gen3d, volumes, tmp_path):
    data, flags = volumes
    files = {}
    for prior, more in UNSEEN.items():
        out = tmp_path / prior
        code, told, _ = gen3d("train", prior, "--data", str(data), "--out", str(out), *flags, *more, "--json", "-q")
        facts = json.loads(told)
        assert (code, facts["steps"]) == (0, 4)
        files[prior.removeprefix("gvgen-")] = facts["weights"]
    assert sources(tmp_path / "gvgen-field") == sources(tmp_path / "gvgen-attributes") == learned_from(VolumeSet(data))
    assert load_words(tmp_path / "gvgen-field" / "gvgen-words.safetensors").phrases == ("a box",)
    told = [f"--{name}={file}" for name, file in files.items()]
    assert gen3d("text", "a box", *told, "--steps", "2", "--no_mesh", "--out", str(tmp_path / "run"), "-q")[0] == 0
    code, _, err = gen3d("train", "--out", "dsplats", "gvgen-field", "--print_config")
    assert code == 0
    code, _, err = gen3d("train", "gvgen-field", "--data", str(data), str(data), "--out", str(tmp_path / "x"), *flags)
    assert (code, "there are 2 folders of volumes; give one" in err) == (2, True)


def test_muon_needs_whole_matrices(gen3d, rendered, tmp_path):
    flags = ["--strategy", "fsdp", "--optimizer", "muon"]
    code, _, err = gen3d("train", "dsplats", "--data", str(rendered), "--out", str(tmp_path / "run"), *SMALL, *flags)
    assert code == 2
    assert "muon works on whole matrices, which fsdp cuts into pieces; say --optimizer adamw" in err


@pytest.mark.gpu
def test_pieces_train_like_the_whole(rendered, tmp_path):
    """FSDP on one GPU gives the weights of a plain run."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for name, more in (("one", []), ("cut", ["--strategy=fsdp"])):
        command = [sys.executable, "-m", "gen3d", "train", "dsplats", "--data", rendered, "--out", tmp_path / name, *SMALL, *more, "-q"]
        subprocess.run([*map(str, command), "--accelerator=cuda"], check=True, timeout=300)
    one, cut = (load_network(tmp_path / name / "dsplats.safetensors") for name in ("one", "cut"))
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(one.parameters(), cut.parameters(), strict=True))
