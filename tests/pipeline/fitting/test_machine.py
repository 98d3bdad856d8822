import pytest
import torch

from gen3d.errors import UsageError
from gen3d.pipeline.fitting.machine import Machine, choose_device
from gen3d.pipeline.progress import Silent
from gen3d.pipeline.stages.photos import choose_machine
from gen3d.pipeline.stages.settings import PhotosSettings
from gen3d.renderers import gsplat_backend
from gen3d.renderers.native import backend as native_backend

ABSENT = "gsplat is absent"


class Listener(Silent):
    def __init__(self):
        self.notes = []

    def note(self, message):
        self.notes.append(message)


@pytest.fixture
def pretend(monkeypatch):
    """Call with the number of GPUs and why gsplat and the native kernels cannot run, if they cannot."""

    def become(gpus, gsplat=None, native=None):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(gsplat_backend, "unavailable", lambda: gsplat)
        monkeypatch.setattr(native_backend, "unavailable", lambda: native)

    return become


def chosen_both_ways(device, backend):
    """What `choose_device` says, after making sure that a job would get the same."""
    name = choose_device(device, backend, note=lambda message: None)
    assert choose_machine(PhotosSettings(device=device, backend=backend), Silent()) == Machine(name, 1, backend)
    return name


@pytest.mark.parametrize(
    ("device", "backend", "gsplat", "expected"),
    [
        ("auto", "auto", None, "cuda"),
        ("auto", "auto", ABSENT, "cpu"),
        ("auto", "gsplat", None, "cuda"),
        ("auto", "native", None, "cpu"),
        ("auto", "reference", None, "cuda"),
        ("cuda", "auto", ABSENT, "cuda"),
        ("cuda", "gsplat", None, "cuda"),
        ("cuda", "reference", ABSENT, "cuda"),
        ("cpu", "auto", None, "cpu"),
        ("cpu", "native", None, "cpu"),
    ],
)
def test_a_gpu_is_taken_where_gsplat_draws_on_it(pretend, device, backend, gsplat, expected):
    pretend(1, gsplat)
    assert chosen_both_ways(device, backend) == expected


@pytest.mark.parametrize("backend", ["auto", "native", "reference"])
def test_without_a_gpu_auto_is_the_cpu(pretend, backend):
    pretend(0, ABSENT)
    assert chosen_both_ways("auto", backend) == "cpu"


@pytest.mark.parametrize(
    ("device", "backend", "gpus", "gsplat", "sentence"),
    [
        ("cuda", "auto", 0, ABSENT, "the device is cuda and torch finds none here; choose --device cpu"),
        ("auto", "gsplat", 0, ABSENT, "the backend is gsplat, which cannot run here: gsplat is absent, or choose --backend auto"),
        ("cpu", "gsplat", 1, ABSENT, "the backend is gsplat, which cannot run here: gsplat is absent"),
        ("cpu", "gsplat", 1, None, "draws on cuda only, and the device is cpu; choose --device cuda or --backend auto"),
        ("cuda", "native", 1, None, "draws on cpu only, and the device is cuda; choose --device cpu or --backend auto"),
    ],
)
def test_what_contradicts_itself_is_wrong_usage(pretend, device, backend, gpus, gsplat, sentence):
    pretend(gpus, gsplat)
    for choose in (choose_device, lambda *words: choose_machine(PhotosSettings(device=words[0], backend=words[1]), Silent())):
        with pytest.raises(UsageError, match=sentence):
            choose(device, backend)


def test_a_native_library_that_does_not_load_is_wrong_usage_only_where_it_is_named(pretend):
    pretend(0, ABSENT, native="the library is of another build")
    with pytest.raises(UsageError, match="the backend is native, which cannot run here: the library is of another build"):
        choose_device("auto", "native")
    assert choose_device("auto", "auto") == "cpu"


def test_a_gpu_that_is_not_used_is_noted(pretend):
    pretend(1, ABSENT)
    listener = Listener()
    choose_machine(PhotosSettings(), listener)
    assert listener.notes == ["the GPU is not used, because gsplat cannot draw on it: gsplat is absent"]
    with pytest.warns(UserWarning, match="the GPU is not used"):
        choose_device("auto", "auto")


def test_there_must_be_a_gpu_for_every_process(pretend):
    pretend(2)
    assert choose_machine(PhotosSettings(devices=2), Silent()) == Machine("cuda", 2, "auto")
    with pytest.raises(UsageError, match="devices is 3 and this machine has 2 GPUs"):
        choose_machine(PhotosSettings(devices=3), Silent())
