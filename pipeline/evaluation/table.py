"""Results as Markdown: every method over all objects and by tier, and what it is better by than another one."""

from collections.abc import Sequence
from typing import Any

from gen3d.pipeline.evaluation.comparison import ALL, Mean, MethodScores, best_of, margins, means, share_of_gap, tiers_of
from gen3d.pipeline.evaluation.methods import BASELINES, BEST, check_opponent
from gen3d.pipeline.evaluation.object_scores import LOWER_IS_BETTER
from gen3d.pipeline.evaluation.results import Evaluated

TITLES = {
    "psnr": "PSNR dB",
    "psnr_union": "union PSNR dB",
    "ssim": "SSIM",
    "lpips_alex": "LPIPS alex",
    "lpips_vgg": "LPIPS vgg",
    "iou": "IoU",
}
DECIBELS = ("psnr", "psnr_union")
CEILING = "ceiling"


def opponent(results: Evaluated, over: str) -> MethodScores | None:
    """The method that the others are compared with; None where the best baseline is meant and there is none.

    Raises:
        UsageError: it was not evaluated.
    """
    check_opponent(over, [each.name for each in results.methods])
    if over != BEST:
        return next(each for each in results.methods if each.name == over)
    baselines = [each for each in results.methods if each.name in BASELINES]
    return best_of(baselines) if baselines else None


def markdown(results: Evaluated, over: str = BEST) -> str:
    """All tables, ready to be read as they are."""
    first = results.methods[0]
    views = len(first.objects[0].figures["psnr"])
    told = f"{len(first.objects):,} objects, {views} views of each; pictures {results.pictures}; mean ± standard error over objects"
    parts = [f"# {results.protocol}\n\n{told}"]
    for tier in tiers_of(first.objects):
        count = means(first, "psnr")[tier].count
        parts.append(f"## {tier} ({count:,})\n\n{_scores(results.methods, tier, costs=tier == ALL)}")
    if (other := opponent(results, over)) is not None and len(results.methods) > 1:
        parts.append(f"## better than {other.name} by, object by object\n\n{_margins(results.methods, other)}")
    parts += [f"note: {note}" for note in results.notes]
    return "\n\n".join(parts) + "\n"


def summary(results: Evaluated, over: str = BEST) -> dict[str, Any]:
    """The same for machines: means, standard errors and margins by method, metric and tier."""
    other = opponent(results, over)
    return {
        "protocol": results.protocol,
        "pictures": results.pictures,
        "objects": len(results.methods[0].objects),
        "methods": {
            each.name: {
                **{metric: _plain(means(each, metric)) for metric in each.metrics},
                "seconds": round(each.seconds, 4),
                "prepare_seconds": round(each.prepare_seconds, 2),
                "memory_mib": dict(each.memory_mib),
                "facts": dict(each.facts),
            }
            for each in results.methods
        },
        "over": None if other is None else other.name,
        "margins": {}
        if other is None
        else {each.name: {metric: _plain(margins(each, other, metric)) for metric in _shared(each, other)} for each in results.methods},
        "notes": list(results.notes),
    }


def _scores(methods: Sequence[MethodScores], tier: str, *, costs: bool) -> str:
    metrics = [metric for metric in TITLES if any(metric in each.metrics for each in methods)]
    header = ["method", *(TITLES[metric] for metric in metrics), *(["s/object", "MiB"] if costs else [])]
    rows = []
    for each in methods:
        cells = [_cell(means(each, metric)[tier], metric) if metric in each.metrics else "" for metric in metrics]
        rows.append([each.name, *cells, *([f"{each.seconds:.3f}", _memory(each)] if costs else [])])
    return _table(header, rows)


def _margins(methods: Sequence[MethodScores], other: MethodScores) -> str:
    """PSNR by tier, LPIPS over all, and how much of the way from the baseline that is best by a metric to the ceiling that is."""
    tiers, metrics = tiers_of(other.objects), ["psnr", *(metric for metric in other.metrics if metric in LOWER_IS_BETTER)]
    ways = _ways(methods, metrics)
    header = ["method", *(f"PSNR {tier}" for tier in tiers), *(f"{TITLES[metric]} {ALL}" for metric in metrics[1:])]
    header += [f"{TITLES[metric]}: share from {low.name} to {high.name}" for metric, (low, high) in ways.items()]
    rows = []
    for each in methods:
        cells = [_cell(margins(each, other, "psnr")[tier], "psnr", sign="+") for tier in tiers]
        cells += [_cell(margins(each, other, metric)[ALL], metric, sign="+") if metric in each.metrics else "" for metric in metrics[1:]]
        cells += [_share(each, low, high, metric) for metric, (low, high) in ways.items()]
        if each.name != other.name:
            rows.append([each.name, *cells])
    return _table(header, rows)


def _ways(methods: Sequence[MethodScores], metrics: Sequence[str]) -> dict[str, tuple[MethodScores, MethodScores]]:
    """By metric, the best baseline and the ceiling; nothing where one of them was not measured."""
    ceiling = next((each for each in methods if each.name == CEILING), None)
    ways = {}
    for metric in metrics:
        baselines = [each for each in methods if each.name in BASELINES and metric in each.metrics]
        if baselines and ceiling is not None and metric in ceiling.metrics:
            ways[metric] = (best_of(baselines, metric), ceiling)
    return ways


def _share(scores: MethodScores, low: MethodScores, high: MethodScores, metric: str) -> str:
    share = share_of_gap(scores, low, high, metric) if metric in scores.metrics else None
    return "" if share is None else f"{round(100 * share)} %"


def _shared(first: MethodScores, second: MethodScores) -> list[str]:
    return [metric for metric in first.metrics if metric in second.metrics]


def _cell(mean: Mean, metric: str, *, sign: str = "") -> str:
    digits = 2 if metric in DECIBELS else 3
    error = "" if mean.error is None else f" ± {mean.error:.{digits}f}"
    return f"{mean.value:{sign}.{digits}f}{error}"


def _memory(scores: MethodScores) -> str:
    return ", ".join(f"{value:,}" if name == "main" else f"{name} {value:,}" for name, value in scores.memory_mib.items())


def _plain(values: dict[str, Mean]) -> dict[str, dict[str, float | int | None]]:
    return {
        tier: {"mean": round(mean.value, 5), "error": None if mean.error is None else round(mean.error, 5), "count": mean.count}
        for tier, mean in values.items()
    }


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up when it is read as text."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))} |"

    return "\n".join([line(header), f"|{'|'.join('-' * (width + 2) for width in widths)}|", *map(line, rows)])
