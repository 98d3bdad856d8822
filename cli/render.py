"""`gen3d render`: a turntable video, a contact sheet, stills and depth of splats or of a mesh."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Literal

from gen3d.cli.parser import Parser
from gen3d.cli.progress import Bar
from gen3d.cli.report import Report, short
from gen3d.cli.runs import FRAME_HELP, add_drawing, may_write, splat_file
from gen3d.errors import BadInput, UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from gen3d.renderers.cameras import Cameras
    from gen3d.renderers.mesh_renderer import MeshRendering
    from gen3d.renderers.rendering import Rendering

    Draw = Callable[[Cameras], Rendering | MeshRendering]

SMALLER = "--size 256, --views 24 or leaving --depth out"
COLORS = {"black": (0.0, 0.0, 0.0), "grey": (0.5, 0.5, 0.5), "white": (1.0, 1.0, 1.0)}
SHEET_VIEWS = 12
RAYS = 3  # of a mesh, along each side of a pixel


def configure(parser: Parser) -> None:
    """Add the flags."""
    parser.add_input("source", "a run folder, a splat file or a mesh file")
    group = parser.flags.add_argument_group("pictures")
    group.add_argument("--out", type=str, help="folder of the pictures; a new one in the run's previews, or below outputs")
    group.add_argument("--overwrite", action="store_true", help="replace pictures that exist")
    group.add_argument("--views", type=int, default=96, help="frames of the video")
    group.add_argument("--fps", type=int, default=24, help="frames per second")
    group.add_argument("--size", type=int, default=512, help="longest side in pixels")
    group.add_argument("--stills", type=int, default=0, help="also write this many single pictures along the path")
    group.add_argument("--depth", action="store_true", help="also draw depth, near is bright")
    group.add_argument("--path", type=Literal["auto", "turntable", "photos"], default="auto", help="turntable, along the photos, or auto")
    group.add_argument("--elevation", type=float, default=15.0, help="of the turntable, degrees above the horizon")
    default = "when not given white for turntables and cut-out objects, black along other photos"
    group.add_argument("--background", type=str, help=f"{', '.join(COLORS)} or three numbers such as 0.2,0.2,0.2; {default}")
    group.add_argument(
        "--frame",
        type=str,
        help=FRAME_HELP,
    )
    add_drawing(parser)


def execute(options: SimpleNamespace) -> Report:
    """Draw the path once and cut every picture from it."""
    for name, least in (("views", 1), ("fps", 1), ("size", 2), ("stills", 0)):
        if getattr(options, name) < least:
            raise UsageError(f"{name} is {getattr(options, name)}; it must be at least {least}")
    source = splat_file(options.source)
    folder = Path(options.out) if options.out is not None else _default_folder(Path(options.source))
    names = ["turntable.mp4", "contact_sheet.png", *(f"still_{index:02d}.png" for index in range(options.stills))]
    kinds = ["", "_depth"] if options.depth else [""]
    files = {(name, kind): may_write(_marked(folder / name, kind), options.overwrite) for name in names for kind in kinds}
    _draw(options, source, files)
    lines = "\n".join(short(path) for path in files.values())
    return Report({"source": source, "folder": folder, "files": list(files.values())}, lines)


def _draw(options: SimpleNamespace, source: Path, files: dict[tuple[str, str], Path]) -> None:
    from gen3d.pipeline.formats.images import contact_sheet, write_image
    from gen3d.pipeline.formats.meshes import is_mesh
    from gen3d.pipeline.formats.video import write_video

    draw, cameras = (_mesh if is_mesh(source) else _splats)(options, source)
    with Bar(quiet=options.quiet) as progress:
        pictures = _pictures(draw, cameras, progress, with_depth=options.depth)
    for kind, images in pictures.items():
        write_video(files["turntable.mp4", kind], images, fps=options.fps)
        chosen = _spread(options.views, min(SHEET_VIEWS, options.views))
        sheet = contact_sheet(images[chosen].float() / 255)
        write_image(files["contact_sheet.png", kind], sheet)
        for index, view in enumerate(_spread(options.views, options.stills)):
            write_image(files[f"still_{index:02d}.png", kind], images[view].float() / 255)


def _splats(options: SimpleNamespace, source: Path) -> "tuple[Draw, Cameras]":
    """How splats are drawn, and from where."""
    import torch

    from gen3d.pipeline.fitting.machine import choose_device
    from gen3d.pipeline.formats.registry import read_gaussians
    from gen3d.pipeline.paths import robust_box
    from gen3d.pipeline.stages.make_mesh import run_raster
    from gen3d.renderers.rendering import RasterSettings, rasterize

    device = choose_device(options.device, options.backend)
    gaussians = read_gaussians(source, frame=options.frame)[0].to(device)
    cameras, behind = _cameras(options, robust_box(gaussians))
    given = Path(options.source)
    draw = partial(
        rasterize,
        gaussians,
        background=torch.tensor(_color(options.background, behind)),
        channels=("rgb", "alpha", "depth") if options.depth else ("rgb", "alpha"),
        settings=run_raster(given) if given.is_dir() else RasterSettings(),
        backend=options.backend,
    )
    return draw, cameras.to(device)


def _mesh(options: SimpleNamespace, source: Path) -> "tuple[Draw, Cameras]":
    """How a mesh is drawn, and from where."""
    import torch

    from gen3d.pipeline.formats.meshes import read_mesh
    from gen3d.renderers.mesh_renderer import render_mesh

    mesh = read_mesh(source, axes=options.frame)
    cameras, behind = _cameras(options, (mesh.vertices.amin(0), mesh.vertices.amax(0)))
    return partial(render_mesh, mesh, background=torch.tensor(_color(options.background, behind)), supersample=RAYS), cameras


def _pictures(draw: "Draw", cameras: "Cameras", progress: Bar, *, with_depth: bool) -> dict[str, "Tensor"]:
    """Every view as uint8 `[v, h, w, 3]`: the colours, and the depth under one scale where it is drawn."""
    import torch

    from gen3d.pipeline.formats.images import colorize_depth, to_uint8

    count = cameras.shape[-1]
    colors, depths, alphas = [], [], []
    progress.start("render", count)
    for index in range(count):
        with torch.no_grad():
            view = draw(cameras.select([index]))
        colors.append(to_uint8(view.rgb[0]).cpu())
        if with_depth:
            assert view.depth is not None  # for the type checker
            depths.append(view.depth[0].cpu())
            alphas.append(view.alpha[0].cpu())
        progress.advance(index + 1)
    progress.finish()
    pictures = {"": torch.stack(colors)}
    if with_depth:
        pictures["_depth"] = to_uint8(colorize_depth(torch.stack(depths), torch.stack(alphas)))
    return pictures


def _cameras(options: SimpleNamespace, box: "tuple[Tensor, Tensor]") -> tuple["Cameras", tuple[float, ...]]:
    """The views of the path, and the colour that belongs behind the thing there."""
    from gen3d.pipeline.paths import around_scene, turntable
    from gen3d.pipeline.scenes.transforms import are_cut_out, read_cameras

    poses = Path(options.source) / "cameras" / "transforms.json"
    along_photos = options.path == "photos" or (options.path == "auto" and poses.is_file())
    if not along_photos:
        cameras = turntable(box, options.views, width=options.size, height=options.size, elevation=options.elevation)
        return cameras, COLORS["white"]
    if not poses.is_file():
        raise BadInput(f"{poses} does not exist, so there are no photos to follow; choose --path turntable")
    cameras = around_scene(read_cameras(poses), options.views)
    scale = options.size / max(cameras.width, cameras.height)
    cameras = cameras.resized(max(1, round(cameras.width * scale)), max(1, round(cameras.height * scale)))
    return cameras, COLORS["white" if are_cut_out(poses) else "black"]


def _color(text: str | None, default: tuple[float, ...]) -> tuple[float, ...]:
    if text is None:
        return default
    if text in COLORS:
        return COLORS[text]
    try:
        values = tuple(float(word) for word in text.split(","))
    except ValueError:
        values = ()
    if len(values) != 3 or not all(0 <= value <= 1 for value in values):
        raise UsageError(f"the background {text!r} is not a colour; give {', '.join(COLORS)} or three numbers from 0 to 1: 0.2,0.2,0.2")
    return values


def _spread(count: int, chosen: int) -> list[int]:
    """`chosen` of `count` views at equal distances."""
    return [index * count // chosen for index in range(chosen)]


def _marked(path: Path, kind: str) -> Path:
    return path.with_stem(path.stem + kind)


def _default_folder(source: Path) -> Path:
    time = f"{datetime.now():%Y%m%d-%H%M%S}"
    return source / "previews" / time if source.is_dir() else Path("outputs") / f"{source.stem}-{time}"
