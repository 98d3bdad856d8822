import pytest


@pytest.fixture
def photos(tmp_path):
    """A folder that looks like a job's input to a run."""
    folder = tmp_path / "My photos"
    (folder / "images").mkdir(parents=True)
    (folder / "images" / "a.png").write_bytes(b"a")
    (folder / "transforms.json").write_text("{}")
    return folder
