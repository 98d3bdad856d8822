"""LPIPS against its formula written out, and against common sense with the published weights."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from gen3d.errors import BadInput, Gen3DError, MissingWeights
from gen3d.priors import perceptual, zoo
from gen3d.priors.checkpoints import lpips_tensors
from gen3d.priors.perceptual import BACKBONES, Lpips, load_lpips

CACHED = {stored.weight.name: stored.path for stored in zoo.list_weights() if stored.present}


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """Pictures this small are slower with several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    return {net: Lpips(net).requires_grad_(False) for net in BACKBONES}


def pictures(count=2, size=33, seed=0):
    return torch.rand(count, size, size, 3, generator=torch.Generator().manual_seed(seed))


def stages(module, net):
    """The classical layer lists, cut after each tapped ReLU."""
    conv = module.convs
    if net == "alex":
        pool = nn.MaxPool2d(3, 2)
        return [[conv[0]], [pool, conv[1]], [pool, conv[2]], [conv[3]], [conv[4]]]
    pool = nn.MaxPool2d(2, 2)
    blocks = [conv[0:2], conv[2:4], conv[4:7], conv[7:10], conv[10:13]]
    return [[*([pool] if index else []), *block] for index, block in enumerate(blocks)]


def written_out(module, net, first, second):
    """The distance of one pair, with numpy from the features on."""
    maps = []
    for picture in (first, second):
        mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
        x = ((picture - mean) / deviation).permute(2, 0, 1)[None]
        taps = []
        for stage in stages(module, net):
            for layer in stage:
                x = torch.relu(layer(x)) if isinstance(layer, nn.Conv2d) else layer(x)
            taps.append(x[0].double().numpy())
        maps.append(taps)
    total = 0.0
    for a, b, head in zip(*maps, module.heads, strict=True):
        a, b = (x / (np.sqrt((x**2).sum(0)) + 1e-10) for x in (a, b))
        total += ((a - b) ** 2 * head.double().numpy()[:, None, None]).sum(0).mean()
    return total


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_the_formula(networks, net):
    first, second = pictures(seed=1), pictures(seed=2)
    expected = [written_out(networks[net], net, a, b) for a, b in zip(first, second, strict=True)]
    # ImageNet's mean and deviation in [-1, 1] are rounded to three digits in LPIPS.
    assert networks[net](first, second).tolist() == pytest.approx(expected, rel=5e-3)


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_a_distance(networks, net):
    first, second = pictures(seed=1), pictures(seed=2)
    distance = networks[net]
    assert distance(first, first).tolist() == [0.0, 0.0]
    assert (distance(first, second) > 0).all()
    assert torch.allclose(distance(first, second), distance(second, first))
    assert torch.allclose(distance(first[1:], second[1:]), distance(first, second)[1:], rtol=1e-4)


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_the_smallest_pictures(networks, net):
    smallest = BACKBONES[net].smallest
    value = networks[net](pictures(size=smallest), pictures(size=smallest, seed=1))
    assert value.isfinite().all()
    with pytest.raises(ValueError, match=f"at least {smallest}"):
        networks[net](pictures(size=smallest - 1), pictures(size=smallest - 1))
    with pytest.raises(ValueError, match="must be equal"):
        networks[net](pictures(1), pictures(2))


def test_gradients_are_finite_on_flat_pictures(networks):
    for value in (0.0, 1.0):
        picture = torch.full((1, 33, 33, 3), value, requires_grad=True)
        networks["alex"](picture, pictures(1)).sum().backward()
        assert picture.grad.isfinite().all()
        assert picture.grad.abs().sum() > 0


def test_unknown_networks_are_refused():
    with pytest.raises(ValueError, match="'squeeze' is not known; choose alex, vgg"):
        Lpips("squeeze")


@pytest.mark.parametrize(("net", "scope"), [("alex", "AlexNet_0"), ("vgg", "VGG16_0")])
def test_converted_checkpoints_fit_the_module(networks, net, scope):
    state = {name: value.numpy() for name, value in networks[net].state_dict().items()}
    tree = {scope: {}}
    for name, value in state.items():
        kind, index, *rest = name.split(".")
        if kind == "heads":
            tree[f"NetLinLayer_{index}"] = {"Conv_0": {"kernel": value[None, None, :, None]}}
        else:
            layer = tree[scope].setdefault(f"Conv_{index}", {})
            layer.update({"kernel": value.transpose(2, 3, 1, 0)} if rest == ["weight"] else {"bias": value})
    converted = lpips_tensors(pickle.dumps(tree))
    assert converted.keys() == state.keys()
    assert all(np.array_equal(converted[name].numpy(), value.astype(np.float16)) for name, value in state.items())


def test_load_from_a_local_file(networks, tmp_path):
    file = tmp_path / "mine.safetensors"
    save_file({name: value.half() for name, value in networks["alex"].state_dict().items()}, file)
    loaded = load_lpips("alex", weights=file, offline=True)
    assert not loaded.training
    assert all(not parameter.requires_grad and parameter.dtype == torch.float32 for parameter in loaded.parameters())
    first, second = pictures(seed=1), pictures(seed=2)
    assert torch.allclose(loaded(first, second), networks["alex"](first, second), atol=1e-3)
    with pytest.raises(BadInput, match="does not hold the weights of LPIPS vgg"):
        load_lpips("vgg", weights=file)
    file.write_bytes(b"noise")
    with pytest.raises(BadInput, match="does not hold the weights of LPIPS alex"):
        load_lpips("alex", weights=file)
    with pytest.raises(MissingWeights, match="gen3d models pull lpips-alex"):
        load_lpips("alex", root=tmp_path, offline=True)


@pytest.mark.parametrize("damage", [{"convs.0.weight": torch.ones(3)}, {}, "folder", b"\x08" + bytes(7) + b"[1,2,3]]"])
def test_files_that_are_no_weights_are_one_sentence(damage, tmp_path):
    file = tmp_path / "mine.safetensors"
    if isinstance(damage, dict):
        save_file(damage, file)
    elif isinstance(damage, bytes):
        file.write_bytes(damage)
    else:
        file.mkdir()
    with pytest.raises(Gen3DError):
        load_lpips("alex", weights=file)


def test_a_job_does_not_wait_long_for_the_network(monkeypatch):
    waits = []

    def pulled(name, *, timeout, **_):
        waits.append(timeout)
        raise MissingWeights("no")

    monkeypatch.setattr(perceptual, "pull", pulled)
    with pytest.raises(MissingWeights, match="no"):
        load_lpips()
    assert waits == [10.0]


@pytest.mark.parametrize(("net", "size"), [("alex", 96), ("vgg", 48)])
def test_published_weights_order_what_eyes_order(net, size):
    if f"lpips-{net}" not in CACHED:
        pytest.skip(f"lpips-{net} is not in the cache; gen3d models pull lpips-{net}")
    data = pytest.importorskip("skimage.data")
    distance = load_lpips(net, weights=CACHED[f"lpips-{net}"])
    picture = torch.from_numpy(data.astronaut()[64 : 64 + size, 176 : 176 + size].copy()).float()[None] / 255
    noise = torch.randn(picture.shape, generator=torch.Generator().manual_seed(0))

    def blurred(width):
        return nn.functional.avg_pool2d(picture.permute(0, 3, 1, 2), width, 1, width // 2, count_include_pad=False).permute(0, 2, 3, 1)

    def far(other):
        return float(distance(picture, other.clamp(0, 1)))

    assert far(picture) == 0.0
    assert 0 < far(picture + 0.02 * noise) < far(picture + 0.05 * noise) < far(picture + 0.1 * noise) < 1
    assert 0 < far(blurred(3)) < far(blurred(5)) < far(blurred(9)) < 1
    # A small shift in brightness is a large error in numbers and a small one to the eye.
    assert far(picture + 0.05) < 0.5 * far(blurred(5))
    other = torch.from_numpy(data.coffee()[100 : 100 + size, 200 : 200 + size].copy()).float()[None] / 255
    assert far(other) > far(blurred(5))
