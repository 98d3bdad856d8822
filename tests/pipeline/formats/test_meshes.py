"""Meshes through files of every format that is read."""

import json
import struct

import numpy as np
import pytest
import torch

from gen3d.errors import BadInput
from gen3d.pipeline.formats import meshes
from gen3d.pipeline.formats.meshes import read_mesh
from gen3d.renderers.cameras import orbit
from gen3d.renderers.mesh_renderer import render_mesh

trimesh = pytest.importorskip("trimesh")
Image = pytest.importorskip("PIL.Image")

CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)
FACES = [[0, 1, 2], [0, 2, 3]]


def checker(*, alpha=False):
    """Upper half red then green, lower half blue then yellow; with alpha the right half is clear."""
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:4, :4, 0] = pixels[:4, 4:, 1] = pixels[4:, :4, 2] = pixels[4:, 4:, 0] = pixels[4:, 4:, 1] = 255
    pixels[:, :, 3] = 255
    if alpha:
        pixels[:, 4:, 3] = 0
    return Image.fromarray(pixels if alpha else pixels[..., :3])


def quad(offset=0.0, **visual):
    vertices = np.concatenate([CORNERS + np.array([offset, 0.0]), np.zeros((4, 1))], 1)
    return trimesh.Trimesh(vertices, FACES, process=False, **visual)


def textured(offset=0.0, **material):
    material.setdefault("baseColorTexture", checker())
    pbr = trimesh.visual.material.PBRMaterial(**material)
    return quad(offset, visual=trimesh.visual.TextureVisuals(uv=CORNERS, material=pbr))


def seen(mesh, target):
    camera = orbit(torch.zeros(1), torch.zeros(1), radius=1.0, fov=60.0, width=16, height=16, target=target)
    return render_mesh(mesh, camera, supersample=1)


def test_glb_texture_keeps_its_orientation(tmp_path):
    textured().export(tmp_path / "quad.glb")
    mesh = read_mesh(tmp_path / "quad.glb")
    assert mesh.vertices.dtype == torch.float32
    assert mesh.faces.dtype == torch.int64
    assert mesh.colors is None
    picture = seen(mesh, (0.5, 0.5, 0.0)).rgb[0]
    expected = [[[1, 0, 0], [0, 1, 0]], [[0, 0, 1], [1, 1, 0]]]
    assert torch.equal(picture[[4, 12]][:, [4, 12]], torch.tensor(expected).float())


def test_nodes_are_placed_and_mirrored_parts_stay_outside_out(tmp_path):
    scene = trimesh.Scene()
    box = trimesh.creation.box()
    scene.add_geometry(box, geom_name="box", transform=trimesh.transformations.translation_matrix([5, 0, 0]))
    mirror = np.diag([-2.0, 2, 2, 1])
    mirror[:3, 3] = [-5, 0, 0]
    scene.graph.update(frame_to="mirrored", matrix=mirror, geometry="box")
    scene.export(tmp_path / "two.glb")
    mesh = read_mesh(tmp_path / "two.glb")
    assert torch.allclose(mesh.vertices.amin(0), torch.tensor([-6.0, -1, -1]))
    assert torch.allclose(mesh.vertices.amax(0), torch.tensor([5.5, 1, 1]))
    joined = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)
    assert joined.volume == pytest.approx(1 + 8, rel=1e-5)


def test_gltf_factor_is_linear_and_multiplies(tmp_path):
    textured(baseColorFactor=[0.5, 1.0, 1.0, 1.0]).export(tmp_path / "quad.glb")
    mesh = read_mesh(tmp_path / "quad.glb")
    assert mesh.texture is not None
    # sRGB of linear .5 is .7354; trimesh keeps factors in 8 bits.
    assert torch.allclose(mesh.colors, torch.tensor([0.7354, 1.0, 1.0]).expand(4, 3), atol=3e-3)
    assert seen(mesh, (0.5, 0.5, 0.0)).rgb[0, 4, 4, 0] == pytest.approx(0.7354, abs=3e-3)


def test_transparency_counts_only_where_the_material_says_so(tmp_path):
    for mode, channels in ((None, 3), ("OPAQUE", 3), ("MASK", 4)):
        textured(baseColorTexture=checker(alpha=True), alphaMode=mode).export(tmp_path / "quad.glb")
        mesh = read_mesh(tmp_path / "quad.glb")
        assert mesh.texture.shape == (8, 8, channels)
    assert seen(mesh, (0.5, 0.5, 0.0)).alpha[0, 4, [2, 6, 9, 13]].tolist() == [1.0, 1.0, 0.0, 0.0]


def test_several_textures_become_vertex_colors(tmp_path):
    blue = Image.new("RGB", (4, 4), (0, 0, 255))
    trimesh.Scene([textured(), textured(2.0, baseColorTexture=blue)]).export(tmp_path / "two.glb")
    mesh = read_mesh(tmp_path / "two.glb")
    assert mesh.texture is None
    assert len(mesh.vertices) == 8
    right = mesh.vertices[:, 0] > 1.5
    assert torch.allclose(mesh.colors[right], torch.tensor([0.0, 0, 1]))
    assert mesh.colors[~right].std() > 0.1


def test_the_same_texture_twice_stays_a_texture(tmp_path):
    trimesh.Scene([textured(), textured(2.0)]).export(tmp_path / "two.glb")
    mesh = read_mesh(tmp_path / "two.glb")
    assert mesh.texture.shape == (8, 8, 3)
    assert mesh.uvs.shape == (8, 2)
    assert torch.equal(seen(mesh, (2.5, 0.5, 0.0)).rgb[0, 4, 4], torch.tensor([1.0, 0, 0]))


def test_vertex_colors_of_ply_are_display_referred(tmp_path):
    colors = np.array([[255, 0, 0, 255], [0, 255, 0, 255], [0, 0, 255, 255], [51, 51, 51, 255]], np.uint8)
    quad(vertex_colors=colors).export(tmp_path / "quad.ply")
    mesh = read_mesh(tmp_path / "quad.ply")
    assert torch.allclose(mesh.colors, torch.from_numpy(colors[:, :3] / 255).float())


def test_face_colors_stay_flat(tmp_path):
    path = tmp_path / "quad.ply"
    header = "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\nelement face 2\n"
    header += "property list uchar int vertex_indices\nproperty uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n"
    path.write_text(header + "0 0 0\n1 0 0\n1 1 0\n0 1 0\n3 0 1 2 255 0 0\n3 0 2 3 0 0 255\n")
    picture = seen(read_mesh(path), (0.5, 0.5, 0.0)).rgb[0]
    assert torch.equal(picture[12, 14], torch.tensor([1.0, 0, 0]))
    assert torch.equal(picture[3, 1], torch.tensor([0.0, 0, 1]))


def test_obj_with_material_file(tmp_path):
    checker().save(tmp_path / "skin.png")
    (tmp_path / "quad.mtl").write_text("newmtl skin\nKd 0.2 0.2 0.2\nmap_Kd skin.png\nnewmtl plain\nKd 1 0.5 0\n")
    body = "mtllib quad.mtl\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nusemtl {}\nf 1/1 2/2 3/3 4/4\n"
    (tmp_path / "skin.obj").write_text(body.format("skin"))
    picture = seen(read_mesh(tmp_path / "skin.obj"), (0.5, 0.5, 0.0)).rgb[0]
    assert torch.equal(picture[4, 4], torch.tensor([1.0, 0, 0]))
    assert torch.equal(picture[12, 4], torch.tensor([0.0, 0, 1]))
    (tmp_path / "plain.obj").write_text(body.format("plain"))
    assert torch.allclose(read_mesh(tmp_path / "plain.obj").colors, torch.tensor([1.0, 0.5, 0]), atol=3e-3)


def test_stl_has_no_color(tmp_path):
    trimesh.creation.box().export(tmp_path / "box.stl")
    mesh = read_mesh(tmp_path / "box.stl")
    assert len(mesh.faces) == 12
    assert mesh.colors is None
    assert mesh.texture is None


def glb(document, binary=b""):
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    if binary:
        chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def document(index=2, count=3, *, x=0.0):
    """A single triangle whose last index and vertex count can lie."""
    data = np.array([x, 0, 0, 1, 0, 0, 0, 1, 0], "<f4").tobytes() + np.array([0, 1, index], "<u4").tobytes()
    views = [{"buffer": 0, "byteOffset": 0, "byteLength": 36}, {"buffer": 0, "byteOffset": 36, "byteLength": 12}]
    accessors = [
        {"bufferView": 0, "componentType": 5126, "count": count, "type": "VEC3"},
        {"bufferView": 1, "componentType": 5125, "count": 3, "type": "SCALAR"},
    ]
    primitive = {"attributes": {"POSITION": 0}, "indices": 1}
    body = {"asset": {"version": "2.0"}, "buffers": [{"byteLength": 48}], "bufferViews": views, "accessors": accessors}
    return glb({**body, "meshes": [{"primitives": [primitive]}], "nodes": [{"mesh": 0}], "scenes": [{"nodes": [0]}], "scene": 0}, data)


def changed(**parts):
    """The single triangle with other parts of its document."""
    data = document()
    size = int.from_bytes(data[12:16], "little")
    return glb({**json.loads(data[20 : 20 + size]), **parts}, data[28 + size :])


TRIANGLES = {"attributes": {"POSITION": 0}, "indices": 1}
HOSTILE = {
    "zeros": changed(accessors=[{"componentType": 5126, "count": 3, "type": "VEC3"}] * 2),
    "sparse": changed(accessors=[{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", "sparse": {}}] * 2),
    "negative": changed(accessors=[{"bufferView": 0, "componentType": 5126, "count": n, "type": "VEC3"} for n in (3, -(10**12))]),
    "views": changed(bufferViews=[{"buffer": 0, "byteLength": 2**31}, {"buffer": 0, "byteLength": 48}]),
    "circle": changed(nodes=[{"children": [1], "mesh": 0}, {"children": [0]}]),
    "deep": changed(nodes=[*({"children": [i + 1], "mesh": 0} for i in range(5000)), {"mesh": 0}]),
    "many": changed(nodes=[{"mesh": 0}], scenes=[{"nodes": [0] * 10**6}], meshes=[{"primitives": [TRIANGLES] * 30}]),
    "number": changed(nodes=3),
}


def test_a_handmade_triangle_is_read(tmp_path):
    (tmp_path / "one.glb").write_bytes(document())
    assert read_mesh(tmp_path / "one.glb").faces.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.glb", None, "does not exist"),
        ("empty.glb", b"", "0 bytes"),
        ("mesh.fbx", b"x", "meshes are read from"),
        ("mesh", b"x", "no suffix"),
        ("noise.glb", bytes(range(256)), "not a readable glb file"),
        ("cut.glb", document()[:-20], "not a readable glb file"),
        ("index.glb", document(index=7), "beyond its 3"),
        ("count.glb", document(count=10**9), "12,000,000,060 bytes of numbers"),
        ("zeros.glb", HOSTILE["zeros"], "compressed or sparse"),
        ("sparse.glb", HOSTILE["sparse"], "compressed or sparse"),
        ("negative.glb", HOSTILE["negative"], "promises 12,000,000,000,084 bytes"),
        ("views.glb", HOSTILE["views"], "promises 2,147,483,744 bytes"),
        ("circle.glb", HOSTILE["circle"], "more than 200 deep, or in a circle"),
        ("deep.glb", HOSTILE["deep"], "more than 200 deep, or in a circle"),
        ("many.glb", HOSTILE["many"], "180,000,180 vertices and indices"),
        ("number.glb", HOSTILE["number"], "not a readable glb file"),
        ("nan.glb", document(x=float("nan")), "not finite"),
        ("none.glb", glb({"asset": {"version": "2.0"}, "scenes": [{"nodes": []}], "scene": 0}), "no faces"),
        ("points.obj", b"v 0 0 0\nv 1 0 0\n", "points.obj"),
        ("text.ply", b"ply\nformat ascii 1.0\nelement vertex 5\n", "text.ply"),
        (
            "points.ply",
            b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n0 0 0\n",
            "points.ply",
        ),
        ("noise.stl", b"solid nothing", "noise.stl"),
        ("noise.gltf", b"{}", "noise.gltf"),
    ],
)
def test_bad_files_end_in_one_sentence(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=message) as caught:
        read_mesh(tmp_path / name)
    assert name in str(caught.value)


PICTURE_OBJ = "mtllib {}\nv 0 0 0\nv 1 0 0\nv 1 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nusemtl skin\nf 1/1 2/2 3/3\n"


def test_files_outside_the_folder_are_not_opened(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    checker().save(tmp_path / "skin.png")
    (inside / "a.mtl").write_text("newmtl skin\nKd 1 0.5 0\nmap_Kd ../skin.png\n")
    (tmp_path / "b.mtl").write_text("newmtl skin\nKd 1 0.5 0\n")
    (inside / "a.obj").write_text(PICTURE_OBJ.format("a.mtl"))
    (inside / "b.obj").write_text(PICTURE_OBJ.format("../b.mtl"))
    (inside / "c.obj").write_text(PICTURE_OBJ.format(tmp_path / "b.mtl"))
    picture = read_mesh(inside / "a.obj")
    assert picture.texture is None
    assert torch.allclose(picture.colors, torch.tensor([1.0, 0.5, 0]), atol=3e-3)
    for name in ("b.obj", "c.obj"):
        other = read_mesh(inside / name).colors
        assert other is None or not torch.allclose(other, torch.tensor([1.0, 0.5, 0]), atol=0.05)
    checker().save(inside / "skin.png")  # exporters leave their own folders in names
    assert read_mesh(inside / "a.obj").texture is not None
    uri = {"asset": {"version": "2.0"}, "buffers": [{"byteLength": 4, "uri": "../skin.png"}]}
    (inside / "d.gltf").write_text(json.dumps(uri))
    (inside / "skin.png").unlink()
    with pytest.raises(BadInput, match="not in the folder of the mesh"):
        read_mesh(inside / "d.gltf")


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    checker().save(tmp_path / "skin.png")
    (inside / "skin.png").symlink_to(tmp_path / "skin.png")
    (inside / "a.mtl").write_text("newmtl skin\nmap_Kd skin.png\n")
    (inside / "a.obj").write_text(PICTURE_OBJ.format("a.mtl"))
    assert read_mesh(inside / "a.obj").texture is None


def test_pictures_are_measured_before_they_are_decoded(tmp_path, monkeypatch):
    textured().export(tmp_path / "quad.glb")
    decoded = []
    monkeypatch.setattr(Image.Image, "convert", lambda image, mode: decoded.append(mode))
    monkeypatch.setattr(meshes, "MAX_PIXELS", 63)
    with pytest.raises(BadInput, match=r"quad.glb.*8x8 pixels and at most 63"):
        read_mesh(tmp_path / "quad.glb")
    assert not decoded


def test_pictures_that_start_other_programs_are_refused(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "skin.eps")
    (tmp_path / "a.mtl").write_text("newmtl skin\nmap_Kd skin.eps\n")
    (tmp_path / "a.obj").write_text(PICTURE_OBJ.format("a.mtl"))
    with pytest.raises(BadInput, match="of the kind EPS"):
        read_mesh(tmp_path / "a.obj")


def test_large_files_are_measured_before_they_are_read(tmp_path, monkeypatch):
    with (tmp_path / "huge.glb").open("wb") as stream:
        stream.truncate(meshes.LIMIT + 1)
    monkeypatch.setattr(meshes.Path, "read_bytes", lambda _: pytest.fail("the file was read"))
    with pytest.raises(BadInput, match="at most 1,073,741,824 are read"):
        read_mesh(tmp_path / "huge.glb")


def test_files_beside_are_measured_together(tmp_path, monkeypatch):
    (tmp_path / "part.bin").write_bytes(bytes(100))
    (tmp_path / "many.gltf").write_text(json.dumps({"asset": {"version": "2.0"}, "buffers": [{"byteLength": 100, "uri": "part.bin"}] * 9}))
    monkeypatch.setattr(meshes, "LIMIT", 1000)
    with pytest.raises(BadInput, match=r"no faces|not a readable"):
        read_mesh(tmp_path / "many.gltf")
    monkeypatch.setattr(meshes, "LIMIT", 899)
    with pytest.raises(BadInput, match="100 bytes and at most 99 are read"):
        read_mesh(tmp_path / "many.gltf")
