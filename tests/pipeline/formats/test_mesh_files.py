"""Meshes into files and back, and into the hands of other programs."""

import errno
import json
import os
import re
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import torch

from gen3d.errors import BadInput, Gen3DError, UsageError
from gen3d.pipeline.formats.colors import display_to_linear, linear_to_display
from gen3d.pipeline.formats.mesh_files import MESH_FORMATS, write_mesh
from gen3d.pipeline.formats.meshes import read_mesh
from gen3d.pipeline.formats.ply_header import parse_header, read_rows
from gen3d.renderers.cameras import orbit
from gen3d.renderers.frames import WORLD_TO_MESH_AXES, world_to_axes
from gen3d.renderers.mesh import Mesh, sample_texture, vertex_normals

trimesh = pytest.importorskip("trimesh")

AXES = [(suffix, axes) for suffix, kind in MESH_FORMATS.items() for axes in WORLD_TO_MESH_AXES if not kind.fixed or axes == kind.axes]
LOOKS = [(), ("colors",), ("texture",), ("cutout",), ("texture", "colors")]
AROUND = (torch.tensor([20.0, 110.0, 200.0, 290.0]), torch.tensor([15.0, -30.0, 40.0, 5.0]))


def document(path):
    """The JSON and the numbers of a GLB file: a function that gives the table of an accessor."""
    data = path.read_bytes()
    size = int.from_bytes(data[12:16], "little")
    header, body = json.loads(data[20 : 20 + size]), data[28 + size :]

    def table(number):
        accessor = header["accessors"][number]
        kind = {5126: "<f4", 5125: "<u4"}[accessor["componentType"]]
        columns = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}[accessor["type"]]
        start = header["bufferViews"][accessor["bufferView"]]["byteOffset"]
        return np.frombuffer(body, kind, accessor["count"] * columns, start).reshape(-1, columns)

    return header, table


def picture(mesh):
    from gen3d.renderers.mesh_renderer import render_mesh

    cameras = orbit(*AROUND, radius=2.0, fov=45.0, width=32, height=32)
    rendering = render_mesh(mesh, cameras, supersample=1)
    assert 0.1 < rendering.alpha.mean() < 0.9
    return rendering.rgb


def corners(mesh):
    """The places of the corners of every face, which no renumbering of the vertices changes."""
    return mesh.vertices[mesh.faces]


@pytest.mark.parametrize(("suffix", "axes"), AXES)
def test_round_trip_of_the_shape(box, tmp_path, suffix, axes):
    mesh = box()
    facts = write_mesh(tmp_path / f"box{suffix}", mesh, axes=axes, unit="metre")
    assert (facts.format, facts.vertices, facts.faces, facts.axes, facts.comments) == (suffix[1:], 24, 12, axes, ())
    assert facts.bytes == (tmp_path / f"box{suffix}").stat().st_size
    assert torch.equal(corners(read_mesh(tmp_path / f"box{suffix}")), corners(mesh))


@pytest.mark.parametrize(
    ("suffix", "looks", "kept", "lost"),
    [
        (".glb", "colors", "colors", ""),
        (".glb", "texture", "texture", ""),
        (".glb", "cutout", "texture", ""),
        (".glb", "texture colors", "texture colors", ""),
        (".obj", "colors", "colors", ""),
        (".obj", "texture", "texture", ""),
        (".obj", "cutout", "texture", "OBJ has no cut-outs"),
        (".obj", "texture colors", "texture", "OBJ does not say how a texture and vertex colours go together"),
        (".ply", "colors", "colors", ""),
        (".ply", "texture", "baked", "PLY has no texture"),
        (".ply", "cutout", "baked", "PLY has no texture"),
        (".ply", "texture colors", "baked", "PLY has no texture"),
        (".stl", "colors", "", "STL has no colours"),
        (".stl", "texture", "", "STL has no colours"),
    ],
)
def test_round_trip_of_the_look(box, tmp_path, suffix, looks, kept, lost):
    mesh = box(*looks.split())
    facts = write_mesh(tmp_path / f"box{suffix}", mesh)
    back = read_mesh(tmp_path / f"box{suffix}")
    assert torch.equal(corners(back), corners(mesh))
    assert " ".join(facts.comments).startswith(lost)
    assert bool(facts.comments) == bool(lost)
    assert (back.texture is not None) == ("texture" in kept)
    assert (back.colors is not None) == ("colors" in kept or kept == "baked")
    if "texture" in kept:
        assert torch.equal(back.texture, mesh.texture if suffix == ".glb" else mesh.texture[..., :3])
        assert torch.allclose(back.uvs[back.faces], mesh.uvs[mesh.faces], atol=1e-6)
    if back.colors is not None:
        own = sample_texture(mesh.texture[..., :3], mesh.uvs) if kept == "baked" else torch.ones(24, 3)
        expected = own if mesh.colors is None else own * mesh.colors
        assert torch.allclose(back.colors[back.faces], expected[mesh.faces], atol=0.51 / 255)


@pytest.mark.parametrize(("suffix", "axes"), [each for each in AXES if each[0] != ".stl"])
def test_pictures_are_the_same_after_a_round_trip(box, tmp_path, suffix, axes):
    mesh = box("colors") if suffix == ".ply" else box("texture")
    write_mesh(tmp_path / f"box{suffix}", mesh, axes=axes)
    assert torch.allclose(picture(read_mesh(tmp_path / f"box{suffix}")), picture(mesh), atol=2 / 255)


@pytest.mark.parametrize(("suffix", "axes"), AXES)
def test_files_stand_in_their_axes(box, tmp_path, suffix, axes):
    """Front, up and right of the world where other programs find them, and the outside outside."""
    mesh = box()
    write_mesh(tmp_path / f"box{suffix}", mesh, axes=axes)
    there = trimesh.load(tmp_path / f"box{suffix}", force="mesh", process=False)
    expected = {
        "gltf": lambda x, y, z: (x, y, z),
        "zup": lambda x, y, z: (x, -z, y),  # Blender: front is -Y
        "unity": lambda x, y, z: (-x, y, z),  # left-handed
        "ply": lambda x, y, z: (-x, -y, z),
    }[axes]
    moved = torch.stack(expected(*mesh.vertices.unbind(-1)), -1)
    assert {tuple(place) for place in there.vertices.round(5).tolist()} == {
        tuple(place) for place in moved.double().numpy().round(5).tolist()
    }
    merged = trimesh.Trimesh(there.vertices, there.faces)
    assert merged.is_watertight
    assert merged.volume > 0, "cross(b - a, c - a) points outwards in every axes"


def test_axes_are_believed_given_or_left(box, tmp_path):
    mesh = box()
    write_mesh(tmp_path / "own.ply", mesh, axes="zup")
    assert torch.equal(corners(read_mesh(tmp_path / "own.ply")), corners(mesh))
    turned = world_to_axes("zup").float()
    assert torch.equal(read_mesh(tmp_path / "own.ply", axes="gltf").vertices, mesh.vertices @ turned.mT)
    stranger = (tmp_path / "own.ply").read_bytes().replace(b"comment gen3d axes zup\n", b"")
    (tmp_path / "other.ply").write_bytes(stranger)
    assert torch.equal(read_mesh(tmp_path / "other.ply").vertices, mesh.vertices @ turned.mT)
    assert torch.equal(read_mesh(tmp_path / "other.ply", axes="zup").vertices, mesh.vertices)
    with pytest.raises(UsageError, match="the axes 'up' are not known; choose one of gltf, zup, ply, unity"):
        read_mesh(tmp_path / "own.ply", axes="up")
    (tmp_path / "odd.ply").write_bytes((tmp_path / "own.ply").read_bytes().replace(b"axes zup", b"axes moon"))
    with pytest.raises(BadInput, match=r"odd.ply says that its axes are 'moon'"):
        read_mesh(tmp_path / "odd.ply")


def test_unit_and_axes_stand_in_the_headers(box, tmp_path):
    for suffix in MESH_FORMATS:
        write_mesh(tmp_path / f"box{suffix}", box(), unit="half a\nmetre")
    assert document(tmp_path / "box.glb")[0]["asset"]["extras"] == {"unit": "half a metre"}
    assert b"\ncomment gen3d axes gltf\ncomment gen3d unit half a metre\n" in (tmp_path / "box.ply").read_bytes()
    assert b"\n# gen3d axes gltf\n# gen3d unit half a metre\n" in (tmp_path / "box.obj").read_bytes()
    assert (tmp_path / "box.stl").read_bytes()[:80].strip().endswith(b", gen3d axes zup, gen3d unit half a metre")


def test_glb_has_what_the_standard_asks_for(box, tmp_path):
    mesh = box("texture", "colors")
    write_mesh(tmp_path / "box.glb", mesh)
    header, table = document(tmp_path / "box.glb")
    (primitive,) = header["meshes"][0]["primitives"]
    attributes = primitive["attributes"]
    assert np.array_equal(table(attributes["POSITION"]), mesh.vertices.numpy())
    assert header["accessors"][attributes["POSITION"]]["max"] == table(attributes["POSITION"]).max(0).tolist()
    assert np.allclose(np.linalg.norm(table(attributes["NORMAL"]), axis=1), 1, atol=1e-6)
    assert np.allclose(table(attributes["TEXCOORD_0"])[:, 1], 1 - mesh.uvs[:, 1].numpy())
    assert np.array_equal(table(primitive["indices"]).reshape(-1, 3), mesh.faces.numpy())
    surface = header["materials"][0]["pbrMetallicRoughness"]
    assert (surface["metallicFactor"], surface["roughnessFactor"]) == (0, 1)
    assert header["materials"][0]["alphaMode"] == "OPAQUE"
    assert header["materials"][0]["doubleSided"] is False


def test_vertex_colors_of_glb_are_linear_even_where_it_is_dark(box, tmp_path):
    levels = torch.tensor([0.0, 1, 2, 10, 64, 128, 188, 255])[torch.arange(24) % 8] / 255
    write_mesh(tmp_path / "box.glb", replace(box(), colors=levels[:, None].expand(-1, 3)))
    header, table = document(tmp_path / "box.glb")
    written = table(header["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"])[:8, 0]
    # The values of the standard's formula, worked out by hand.
    assert np.allclose(written, [0, 0.000303527, 0.000607054, 0.00303527, 0.0512695, 0.215861, 0.502886, 1], rtol=1e-5, atol=1e-9)
    assert torch.allclose(read_mesh(tmp_path / "box.glb").colors[:, 0], levels, atol=0.01 / 255)


def test_the_transfer_function_and_its_inverse():
    values = torch.linspace(0, 1, 4097, dtype=torch.float64)
    assert torch.allclose(linear_to_display(display_to_linear(values)), values, atol=1e-7)
    assert display_to_linear(torch.tensor([0.0, 0.5, 1.0])).tolist() == pytest.approx([0, 0.214041, 1], abs=1e-6)


@pytest.mark.parametrize(("look", "opened", "sided"), [("texture", False, False), ("texture", True, True), ("cutout", False, True)])
def test_the_inside_is_drawn_where_it_can_be_seen(box, tmp_path, look, opened, sided):
    mesh = box(look)
    write_mesh(tmp_path / "box.glb", replace(mesh, faces=mesh.faces[1:]) if opened else mesh)
    material = document(tmp_path / "box.glb")[0]["materials"][0]
    assert material["doubleSided"] is sided
    assert (material["alphaMode"], material.get("alphaCutoff")) == (("MASK", 0.5) if look == "cutout" else ("OPAQUE", None))


def test_uvs_without_a_texture_are_left_out(box, tmp_path):
    mesh = replace(box("texture"), texture=None)
    write_mesh(tmp_path / "box.glb", mesh)
    assert set(document(tmp_path / "box.glb")[0]["meshes"][0]["primitives"][0]["attributes"]) == {"POSITION", "NORMAL"}
    write_mesh(tmp_path / "box.obj", mesh)
    assert sorted(os.listdir(tmp_path)) == ["box.glb", "box.obj"]
    assert "vt" not in (tmp_path / "box.obj").read_text()


@pytest.mark.parametrize("axes", WORLD_TO_MESH_AXES)
def test_normals_of_the_files_turn_along(box, tmp_path, axes):
    mesh = box("texture")
    expected = vertex_normals(mesh) @ world_to_axes(axes).float().mT
    write_mesh(tmp_path / "box.obj", mesh, axes=axes)
    lines = (tmp_path / "box.obj").read_text().splitlines()
    assert np.allclose([[float(word) for word in line.split()[1:]] for line in lines if line.startswith("vn ")], expected, atol=1e-6)
    write_mesh(tmp_path / "box.ply", mesh, axes=axes)
    header = parse_header((tmp_path / "box.ply").read_bytes(), "box.ply")
    rows = read_rows((tmp_path / "box.ply").read_bytes(), header, header.element("vertex"), "box.ply")
    assert np.allclose(np.stack([rows[name] for name in ("nx", "ny", "nz")], -1), expected, atol=1e-6)


def test_stl_is_for_closed_surfaces(box, tmp_path):
    mesh = box("colors")
    path = tmp_path / "box.stl"
    assert write_mesh(path, mesh).comments == ("STL has no colours, so they were left out",)
    path.unlink()
    broken = replace(mesh, faces=mesh.faces[1:])
    with pytest.raises(UsageError, match=r"3 of the surface's 18 edges are open.*--watertight closes it, --force writes it"):
        write_mesh(path, broken)
    assert not path.exists()
    assert write_mesh(path, broken, force=True).faces == 11
    assert len(read_mesh(path).faces) == 11
    data = np.frombuffer(path.read_bytes()[84:], [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("rest", "<u2")])
    a, b, c = data["corners"].transpose(1, 0, 2)
    normals = np.cross(b - a, c - a)
    assert np.allclose(data["normal"], normals / np.linalg.norm(normals, axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("stem", ["my box", "a#b", "-s 1", "höhe", "b\\c", "100%d", "x.y"])
def test_obj_names_its_files_whatever_it_is_called(box, tmp_path, stem):
    folder = tmp_path / "a folder of #1"
    mesh = box("texture")
    facts = write_mesh(folder / f"{stem}.obj", mesh)
    names = sorted(os.listdir(folder))
    assert len(names) == 3
    assert facts.bytes == sum((folder / name).stat().st_size for name in names)
    assert torch.equal(read_mesh(folder / f"{stem}.obj").texture, mesh.texture)
    text = (folder / f"{stem}.obj").read_text()
    (library,), (material,) = re.findall(r"^mtllib (\S+)$", text, re.M), re.findall(r"^usemtl (\S+)$", text, re.M)
    assert library in names
    assert f"newmtl {material}\n" in (folder / library).read_text()


@pytest.mark.parametrize("failing", ["encode_png", "os.replace"])
def test_nothing_is_half_written(box, tmp_path, monkeypatch, failing):
    """Neither where the encoder fails midway nor where the disk does: earlier files stay, and no new OBJ names old pictures."""
    write_mesh(tmp_path / "box.obj", box("texture"))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    if failing == "encode_png":
        monkeypatch.setattr("gen3d.pipeline.formats.obj.encode_png", fail)
        monkeypatch.setattr("gen3d.pipeline.formats.glb.encode_png", fail)
    else:
        monkeypatch.setattr("gen3d.files.os.replace", fail)
    for suffix in (".obj", ".glb"):
        with pytest.raises((Gen3DError, OSError), match="No space left"):
            write_mesh(tmp_path / f"box{suffix}", box("cutout"))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_the_obj_is_renamed_last(box, tmp_path, monkeypatch):
    order = []
    rename = os.replace
    monkeypatch.setattr("gen3d.files.os.replace", lambda source, target: (order.append(target.suffix), rename(source, target)))
    write_mesh(tmp_path / "box.obj", box("texture"))
    assert order == [".png", ".mtl", ".obj"]


def spoiled(mesh, name, value):
    part = getattr(mesh, name).clone()
    part[3, 0] = value
    return replace(mesh, **{name: part})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda mesh: replace(mesh, faces=mesh.faces[:0]), "the mesh has no faces, so .* extract it again"),
        (lambda mesh: spoiled(mesh, "vertices", float("nan")), "1 numbers of the mesh's vertices are not finite, so .* clean"),
        (lambda mesh: spoiled(mesh, "uvs", float("inf")), "1 numbers of the mesh's uvs are not finite"),
        (lambda mesh: spoiled(mesh, "faces", 24), "a face names vertex 24 and there are 24, so .* mend"),
        (lambda mesh: spoiled(mesh, "faces", -1), "a face names vertex -1"),
    ],
)
@pytest.mark.parametrize("suffix", MESH_FORMATS)
def test_broken_meshes_are_not_written(box, tmp_path, suffix, change, message):
    with pytest.raises(Gen3DError, match=message):
        write_mesh(tmp_path / f"box{suffix}", change(box("texture")))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "axes", "message"),
    [
        ("box.fbx", None, r"box.fbx does not end in .glb or .obj or .ply or .stl"),
        ("box", None, r"does not end in"),
        ("box.glb", "zup", r"box.glb cannot have the axes zup: glTF is \+Y up by its standard"),
        ("box.obj", "ydown", r"the axes 'ydown' are not known; choose one of gltf, zup, ply, unity"),
    ],
)
def test_requests_that_cannot_be_met(box, tmp_path, name, axes, message):
    with pytest.raises(UsageError, match=message):
        write_mesh(tmp_path / name, box(), axes=axes)
    assert not list(tmp_path.iterdir())


def test_faces_without_an_area_do_no_harm(tmp_path):
    flat = Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [5, 5, 5]]), torch.tensor([[0, 1, 2], [1, 1, 0]]))
    for suffix in MESH_FORMATS:
        write_mesh(tmp_path / f"flat{suffix}", flat, force=True)
        assert len(read_mesh(tmp_path / f"flat{suffix}").faces) == 2
    header, table = document(tmp_path / "flat.glb")
    normals = table(header["meshes"][0]["primitives"][0]["attributes"]["NORMAL"])
    assert np.allclose(np.linalg.norm(normals, axis=1), 1)


@pytest.mark.parametrize("looks", LOOKS)
@pytest.mark.parametrize("suffix", MESH_FORMATS)
def test_open3d_reads_the_files(box, tmp_path, suffix, looks):
    o3d = pytest.importorskip("open3d")
    write_mesh(tmp_path / f"my box{suffix}", box(*looks))
    there = o3d.io.read_triangle_mesh(str(tmp_path / f"my box{suffix}"), enable_post_processing=False)
    assert len(there.triangles) == 12
    if suffix == ".obj" and looks == ("texture",):
        pictures = [np.asarray(each) for each in there.textures if not each.is_empty()]  # an empty one would end the process
        texture = (box("texture").texture * 255).round().byte().numpy()
        assert np.array_equal(pictures, [texture[::-1]])  # Open3D keeps pictures with the last row on top
    if suffix == ".ply" and looks == ("colors",):
        assert np.allclose(np.asarray(there.vertex_colors), box("colors").colors, atol=1e-6)


@pytest.mark.skipif("GLTF_VALIDATOR" not in os.environ, reason="GLTF_VALIDATOR names no node_modules with the npm package gltf-validator")
def test_khronos_validator_has_nothing_to_say(box, tmp_path):
    script = "const v=require(process.argv[1]+'/gltf-validator');v.validateBytes(require('fs').readFileSync(process.argv[2])).then"
    script += "(r=>console.log(JSON.stringify(r.issues)))"
    for looks in LOOKS:
        path = tmp_path / f"{'-'.join(looks) or 'plain'}.glb"
        write_mesh(path, box(*looks))
        said = subprocess.run(["node", "-e", script, os.environ["GLTF_VALIDATOR"], path], capture_output=True, text=True, check=True)
        assert json.loads(said.stdout)["messages"] == [], looks
