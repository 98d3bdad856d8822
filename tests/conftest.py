import json
import signal

import pytest
import torch

# Pictures in tests are tiny: a second thread costs more than it brings, above all on a busy machine.
torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def listening():
    """Tests send Ctrl-C, to which a suite in the background of a shell would be deaf, and so would what it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def box_set(tmp_path_factory):
    """Render boxes of different heights: settings and splits, one for each box, to the folder of the set."""
    pytest.importorskip("embreex")
    trimesh = pytest.importorskip("trimesh")
    from gen3d.pipeline.objects.render_set import render_set
    from gen3d.pipeline.progress import Silent

    def make(settings, splits):
        folder = tmp_path_factory.mktemp("boxes")
        (folder / "library").mkdir()
        records = []
        for i, split in enumerate(splits):
            trimesh.creation.box((1.0, 0.5 + i / 3, 1.5)).export(folder / "library" / f"box{i}.ply")
            told = {"caption": "a box", "colors": ["red"], "category": "boxes", "attribution": "A", "licence": "CC0"}
            records.append({"id": f"box{i}", "file": f"box{i}.ply", "tier": "scan", "split": split, **told})
        (folder / "library" / "manifest.json").write_text(json.dumps({"objects": records}))
        render_set(folder / "library", folder / "set", settings, Silent(), workers=1)
        return folder / "set"

    return make
