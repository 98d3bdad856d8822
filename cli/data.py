"""`gen3d data`: a library of meshes becomes a multiview training set, that becomes volumes, and what is in one."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

from gen3d.cli.parser import Parser
from gen3d.cli.progress import Bar
from gen3d.cli.report import Report, short, table
from gen3d.cli.runs import may_write
from gen3d.errors import UsageError
from gen3d.pipeline.configuration import override
from gen3d.pipeline.objects.settings import RenderSettings
from gen3d.pipeline.volumes.settings import VolumeSettings

if TYPE_CHECKING:
    from gen3d.pipeline.objects.records import SetManifest

SMALLER = "--workers 1, --size 64 or --views 8"
MOST_FAILURES = 20  # that are printed; the manifest and --json have all


def configure(parser: Parser) -> None:
    """Add the flags."""
    parser.add_input("action", "render a library, show a set, or fit volumes to one", kind=Literal["render", "show", "volumes"])
    parser.add_input("folder", "the library: meshes (.glb, .gltf, .obj, .ply, .stl), with or without a manifest.json; or the set")
    parser.flags.add_argument("--out", type=str, help="render, volumes: the folder to write; show: a picture file for a contact sheet")
    parser.flags.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.flags.add_argument("--workers", type=int, default=0, help="render, volumes: processes, 0 for one a processor")
    parser.flags.add_argument("--object", type=str, help="show: the id of one object, whose views, light, depth and normals are drawn")
    parser.flags.add_class_arguments(VolumeSettings, "volume", as_group=True)
    parser.add_settings(RenderSettings)


def execute(options: SimpleNamespace) -> Report:
    """Render, show or fit."""
    return {"render": _render, "show": _show, "volumes": _volumes}[options.action](options)


def _volumes(options: SimpleNamespace) -> Report:
    if options.out is None:
        raise UsageError("gen3d data volumes needs --out FOLDER, the folder to write the volumes to")
    if options.settings != RenderSettings() or options.object is not None:
        raise UsageError("how pictures are drawn belongs to gen3d data render, --object to show; settings of volumes begin with --volume")
    _check_workers(options)
    from gen3d.pipeline.volumes.fit_set import fit_volumes

    settings = override(VolumeSettings(), options.volume, "the command line")
    with Bar(quiet=options.quiet) as progress:
        done = fit_volumes(options.folder, options.out, settings, progress, workers=options.workers, overwrite=options.overwrite)
    psnr = {tier: [each.psnr for each in done.records if each.tier == tier] for tier in sorted({each.tier for each in done.records})}
    means = {tier: round(sum(values) / len(values), 2) for tier, values in psnr.items()}
    facts = {"volumes": Path(options.out), "objects": len(done.records), "reused": done.reused, "seconds": round(done.seconds, 1)}
    first = f"{short(Path(options.out))}: {len(done.records):,} volumes in {done.seconds:.0f} s, {done.bytes / 2**20:.1f} MiB"
    rows = table([(f"  {tier}", f"{len(psnr[tier]):,}", f"{mean:.2f} dB") for tier, mean in means.items()], ("  tier", "objects", "PSNR"))
    lines = [first, rows, *(f"  failed: {name}: {reason}" for name, reason in done.failures[:MOST_FAILURES])]
    if (there := len(done.records)) < done.planned:
        lines.append(f"  not complete: {there:,} of {done.planned:,} objects")
    facts |= {"planned": done.planned, "failures": done.failures, "bytes": done.bytes, "psnr": means, "settings": asdict(settings)}
    return Report(facts, "\n".join(lines))


def _render(options: SimpleNamespace) -> Report:
    if options.out is None:
        raise UsageError("gen3d data render needs --out SET, the folder to write the set to")
    if options.object is not None:
        raise UsageError("--object belongs to gen3d data show; gen3d data render takes a whole library")
    _check_workers(options)
    _check_no_volume(options)
    from gen3d.pipeline.objects.render_set import render_set

    with Bar(quiet=options.quiet) as progress:
        done = render_set(options.folder, options.out, options.settings, progress, workers=options.workers, overwrite=options.overwrite)
    facts, rows = _summary(Path(options.out), done.manifest)
    facts |= {"seconds": round(done.seconds, 1), "reused": done.reused}
    before = f", {done.reused:,} of them by an earlier run" if done.reused else ""
    first = f"{short(Path(options.out))}: {len(done.manifest.objects):,} objects in {done.seconds:.0f} s{before}"
    return Report(facts, f"{first}\n{rows}")


def _show(options: SimpleNamespace) -> Report:
    if options.object is not None and options.out is None:
        raise UsageError("--object needs --out sheet.png, the picture to draw")
    if options.settings != RenderSettings() or options.workers:
        raise UsageError("the settings of a set belong to gen3d data render; gen3d data show takes --object and --out")
    _check_no_volume(options)
    sheet = None if options.out is None else may_write(Path(options.out), options.overwrite)
    from gen3d.pipeline.formats.images import write_image
    from gen3d.pipeline.objects.object_set import ObjectSet
    from gen3d.pipeline.objects.sheet import object_sheet, set_sheet

    objects = ObjectSet(options.folder)
    objects.verify()
    facts, rows = _summary(objects.folder, objects.manifest)
    if options.object is not None:
        record = asdict(objects.record(options.object))
        facts["object"] = record
        rows = table([(f"  {name}", value) for name, value in record.items() if value])
    if sheet is not None:
        write_image(sheet, set_sheet(objects) if options.object is None else object_sheet(objects, options.object))
        facts["sheet"] = sheet
        rows += f"\n{short(sheet)}"
    return Report(facts, f"{short(objects.folder)}\n{rows}")


def _check_workers(options: SimpleNamespace) -> None:
    if options.workers < 0:
        raise UsageError(f"workers is {options.workers}; it must be at least 0")


def _check_no_volume(options: SimpleNamespace) -> None:
    if override(VolumeSettings(), options.volume, "the command line") != VolumeSettings():
        raise UsageError("the settings that begin with --volume belong to gen3d data volumes")


def _summary(folder: Path, manifest: "SetManifest") -> tuple[dict[str, Any], str]:
    """Counts, sizes, licences and failures of a set: for machines, and in words."""
    objects, failures = manifest.objects, [asdict(each) for each in manifest.failures]
    tiers = {tier: Counter(each.split for each in objects if each.tier == tier) for tier in sorted({each.tier for each in objects})}
    licences = Counter(each.licence for each in objects)
    size = sum(each.bytes for each in manifest.shards)
    settings = asdict(manifest.settings)
    facts = {
        "set": folder,
        "objects": len(objects),
        "planned": manifest.planned,
        "complete": manifest.complete,
        "tiers": {tier: dict(splits) for tier, splits in tiers.items()},
        "licences": dict(licences.most_common()),
        "bytes": size,
        "shards": len(manifest.shards),
        "settings": settings,
        "failures": failures,
    }
    splits = sorted({each.split for each in objects})
    counts = table([(f"  {tier}", *(f"{count[split]:,}" for split in splits)) for tier, count in tiers.items()], ("  tier", *splits))
    maps = "colour, alpha, depth, normal" if manifest.settings.geometry else "colour, alpha"
    each = f", {size / len(objects) / 1000:.1f} kB an object" if objects else ""
    rows = [
        counts,
        f"  {settings['views']} views of {settings['size']} pixels each: {maps}; seed {settings['seed']}, quality {settings['quality']}",
        f"  {size / 2**20:.1f} MiB in {len(manifest.shards)} shard{'s' * (len(manifest.shards) != 1)}{each}; checksums match",
        "  licences: " + ", ".join(f"{licence} {count:,}" for licence, count in licences.most_common()),
    ]
    if not manifest.complete:
        there = len(objects) + len(failures)
        rows.append(f"  not complete: {there:,} of {manifest.planned:,} objects; the gen3d data render that made it goes on from there")
    rows += [f"  failed: {each.file}: {each.reason}" for each in manifest.failures[:MOST_FAILURES]]
    if len(failures) > MOST_FAILURES:
        rows.append(f"  and {len(failures) - MOST_FAILURES:,} failures more, in the manifest")
    return facts, "\n".join(rows)
