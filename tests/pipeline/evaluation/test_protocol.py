"""What evaluations have in common: the background and the LPIPS network, or the reason why there is none."""

import subprocess
import sys

import pytest
import torch

from gen3d.errors import MissingWeights
from gen3d.pipeline.evaluation import protocol
from gen3d.pipeline.scenes.scene import View
from gen3d.priors.perceptual import Lpips
from gen3d.renderers.cameras import orbit


def photo(alpha):
    camera = orbit(torch.zeros(1), torch.zeros(1), radius=2.0, fov=40.0, width=2, height=2)
    return View("a", torch.zeros(2, 2, 3, dtype=torch.uint8), torch.zeros(2, 2, dtype=torch.uint8) if alpha else None, None, camera)


def test_objects_that_were_cut_out_stand_before_white():
    assert protocol.background_of([photo(False), photo(True)]) == (1.0, 1.0, 1.0)
    assert protocol.background_of([photo(False)]) is None


@pytest.mark.parametrize("error", [MissingWeights("no network"), RuntimeError("no network"), KeyError("no network")])
def test_a_network_that_cannot_be_had_becomes_a_sentence(error, monkeypatch):
    def fail(_):
        raise error

    monkeypatch.setattr(protocol, "load_lpips", fail)
    lpips, reason = protocol.lpips_or_reason()
    assert lpips is None
    assert reason.startswith("LPIPS is absent: ")
    assert "no network" in reason


def test_a_network_that_is_there(monkeypatch):
    network = Lpips("alex")
    monkeypatch.setattr(protocol, "load_lpips", lambda _: network)
    assert protocol.lpips_or_reason() == (network, "")


def test_measuring_needs_no_trainer():
    code = "import sys, gen3d.pipeline.evaluation.metrics, gen3d.pipeline.evaluation.protocol; print('lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
