"""Files of strangers: whatever is in them, a scene is read or one sentence says why not, and memory stays bounded."""

import contextlib
import json
import math
import resource

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gen3d.errors import BadInput
from gen3d.pipeline.scenes.point_ply import read_point_ply
from gen3d.pipeline.scenes.reading import read_scene
from gen3d.pipeline.scenes.settings import SceneSettings

SETTINGS = SceneSettings(max_size=32)
MEGABYTES = 1024  # getrusage counts kibibytes on Linux
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from([0, -1, 1e-320, 1e308, -math.inf, 10**400, "", "images", "..", "/", "\0", "\ud800", [], {}, [[[]]], [[1, 2], [3]]]),
    st.text(max_size=20),
)
KEYS = ["w", "h", "fl_x", "fl_y", "cx", "cy", "camera_angle_x", "camera_model", "is_fisheye", "k1", "k2", "k3", "k4", "p1", "p2"]
FILE_KEYS = [*KEYS, "frames", "ply_file_path", "train_filenames", "test_filenames", "applied_transform"]
FRAME_KEYS = [*KEYS, "file_path", "mask_path", "transform_matrix", "split"]


@pytest.fixture
def bounded_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * MEGABYTES


def reads_or_refuses(read, *arguments):
    with contextlib.suppress(BadInput):
        read(*arguments)


@st.composite
def mutations(draw, content):
    """A few bytes replaced, removed, repeated or inserted, or the end cut off."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.sampled_from([1, 2, 4, 8, 30]))
        kind = draw(st.sampled_from(["replace", "remove", "insert", "repeat", "cut"]))
        if kind == "replace":
            data[start : start + length] = draw(st.one_of(st.binary(min_size=length, max_size=length), st.just(b"\xff" * length)))
        elif kind == "remove":
            del data[start : start + length]
        elif kind == "insert":
            data[start:start] = draw(st.one_of(st.binary(max_size=length), st.sampled_from([b"nan", b"-1", b"1e999", b"\n", b" ", b"#"])))
        elif kind == "repeat":
            data[start:start] = data[start : start + length] * 3
        else:
            del data[start:]
    return bytes(data)


@pytest.mark.usefixtures("bounded_memory")
def test_bytes_of_transforms_json(make_folder):
    folder = make_folder(3)
    folder.write_colmap(True)
    content = json.dumps(folder.meta() | {"k1": 0.01}).encode()

    @QUICK
    @given(mutations(content))
    def check(data):
        (folder.path / "transforms.json").write_bytes(data)
        reads_or_refuses(read_scene, folder.path, SETTINGS)

    check()


@pytest.mark.usefixtures("bounded_memory")
def test_values_of_transforms_json(make_folder):
    folder = make_folder(3)
    folder.write_colmap(False)

    @QUICK
    @given(
        st.dictionaries(st.sampled_from(FILE_KEYS), LEAVES, max_size=2), st.dictionaries(st.sampled_from(FRAME_KEYS), LEAVES, max_size=3)
    )
    def check(for_file, for_frame):
        meta = folder.meta()
        meta["frames"][1] |= for_frame
        (folder.path / "transforms.json").write_text(json.dumps(meta | for_file))
        reads_or_refuses(read_scene, folder.path, SETTINGS)

    check()


@pytest.mark.usefixtures("bounded_memory")
@pytest.mark.parametrize("matrix", [[0.0] * 3_000_000, "nested"])
def test_matrices_that_are_none(matrix, make_folder):
    folder = make_folder(3)
    if matrix == "nested":
        matrix = []
        for _ in range(500):
            matrix = [matrix]
    meta = folder.meta()
    meta["frames"][1]["transform_matrix"] = matrix
    with pytest.raises(BadInput, match="matrix"):
        read_scene(folder.write_json(meta), SETTINGS)


@pytest.mark.usefixtures("bounded_memory")
@pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "points3D.bin", "cameras.txt", "images.txt", "points3D.txt"])
def test_bytes_of_colmap_models(name, make_folder):
    folder = make_folder(3)
    files = folder.colmap_bytes(name.endswith(".bin"))
    folder.write_colmap(name.endswith(".bin"))

    @QUICK
    @given(mutations(files[name]))
    def check(data):
        (folder.path / "sparse/0" / name).write_bytes(data)
        reads_or_refuses(read_scene, folder.path, SETTINGS)

    check()


@pytest.mark.usefixtures("bounded_memory")
@pytest.mark.parametrize("kind", [b"ascii", b"binary_little_endian"])
def test_bytes_of_point_files(kind, tmp_path):
    header = (
        b"ply\nformat "
        + kind
        + b" 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\nproperty uchar red\nend_header\n"
    )
    body = b"1 2 3 4\n" * 3 if kind == b"ascii" else bytes(range(39))

    @QUICK
    @given(mutations(header + body))
    def check(data):
        (tmp_path / "points.ply").write_bytes(data)
        reads_or_refuses(read_point_ply, tmp_path / "points.ply")

    check()


@pytest.mark.usefixtures("bounded_memory")
def test_bytes_of_photos(make_folder):
    folder = make_folder(3)
    folder.write_json()
    photo = folder.path / "images" / folder.names[1]

    @QUICK
    @given(mutations(photo.read_bytes()))
    def check(data):
        photo.write_bytes(data)
        reads_or_refuses(read_scene, folder.path, SETTINGS)

    check()
