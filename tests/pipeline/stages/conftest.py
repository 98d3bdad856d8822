"""Short videos, which are what most of these tests would wait for."""

import pytest


@pytest.fixture(autouse=True)
def short_videos(monkeypatch):
    monkeypatch.setattr("gen3d.pipeline.stages.place.FRAMES", 4)
