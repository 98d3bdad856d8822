"""Methods judged on the test objects of a library: pictures drawn or read, questions asked, answers scored."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from gen3d.errors import Gen3DError, MissingWeights
from gen3d.pipeline.evaluation.baselines import Bench
from gen3d.pipeline.evaluation.comparison import MethodScores
from gen3d.pipeline.evaluation.measuring import Usage
from gen3d.pipeline.evaluation.methods import BASELINES, NETWORKS, check_opponent, informed, named, rank
from gen3d.pipeline.evaluation.object_scores import ObjectScores, score
from gen3d.pipeline.evaluation.objects_protocol import (
    Ceiling,
    Predicted,
    Question,
    chosen,
    over_white,
    protocol_of,
    question_of,
)
from gen3d.pipeline.evaluation.protocol_set import fingerprint, protocol_set
from gen3d.pipeline.evaluation.results import Evaluated
from gen3d.pipeline.evaluation.settings import ObjectsSettings
from gen3d.pipeline.objects.folders import find_objects
from gen3d.pipeline.objects.holdout import in_any_order
from gen3d.pipeline.objects.library import select
from gen3d.pipeline.objects.object_set import ObjectSet
from gen3d.pipeline.progress import Progress
from gen3d.priors.perceptual import BACKBONES, Lpips, load_lpips


@dataclass(frozen=True, slots=True)
class ObjectsJob:
    """What is judged, and where.

    Attributes:
        library: folder of meshes whose split says train or test.
        cache: folder that pictures of protocols are kept in.
        settings: protocol and methods.
        workers: processes that draw; 0 takes one for each processor.
        device: cpu or cuda.
        backend: of `rasterize`.
        earlier: scores of other methods on the same pictures, for the same table.
    """

    library: Path
    cache: Path
    settings: ObjectsSettings
    workers: int = 0
    device: str = "cpu"
    backend: str = "auto"
    earlier: tuple[Evaluated, ...] = ()


class Contestant:
    """A method while it is judged."""

    def __init__(self, name: str, bench: Bench) -> None:
        self.name, self.scores = name, list[ObjectScores]()
        self._preparing, self._answering = Usage(), Usage()
        with self._preparing.measuring():
            if name in informed():
                seeing = informed()[name](bench)
                self._ask: Ceiling = seeing.answer
                self.facts = seeing.facts
            else:
                entrant = {**BASELINES, **NETWORKS}[name](bench)
                self._ask, self.facts = lambda question, _: entrant.answer(question), entrant.facts

    def answer(self, question: Question, truth: Any) -> tuple[Predicted, float]:
        """The answer and the seconds that it took; only ceilings and their like see the truth."""
        before = self._answering.seconds
        with self._answering.measuring():
            found = self._ask(question, truth)
        return found, self._answering.seconds - before

    def result(self) -> MethodScores:
        """All of its figures."""
        usages = (self._preparing, self._answering)
        memory = {name: max(each.memory_mib.get(name, 0) for each in usages) for name in self._answering.memory_mib}
        return MethodScores(self.name, tuple(self.scores), self._preparing.seconds, memory, self.facts)


def evaluate_objects(job: ObjectsJob, progress: Progress) -> Evaluated:
    """Judge methods on the test objects of a library.

    Raises:
        BadInput: the library is broken, or has no test objects, or none to learn from.
        UsageError: a method is not known, or the settings contradict each other.
        MissingWeights: no method that is asked for has its weights.
        MissingDependency: there is something to draw, and embreex is not installed.
    """
    settings, names = job.settings, named(job.settings.methods)
    protocol, entries = protocol_of(settings), find_objects(job.library)

    def pictures(split: str) -> ObjectSet:
        folder = job.cache / job.library.resolve().name / protocol.label / split
        return protocol_set(job.library, select(entries, split=split), protocol, folder, progress, workers=job.workers)

    test = limited(pictures("test"), settings.limit)
    results = Evaluated(protocol.label, fingerprint(test), ())
    for each in job.earlier:
        results = results.joined(each)
    planned = results.joined(replace(results, methods=tuple(MethodScores(name, ()) for name in names)))
    check_opponent(settings.over, [each.name for each in planned.methods])
    bench = Bench(protocol, lambda: pictures("train"), progress, settings, job.device, job.backend)
    networks, notes = lpips_networks(settings, job.device)
    contestants, absent = entered(names, bench)
    check_opponent(settings.over, [*(each.name for each in results.methods), *(each.name for each in contestants)])
    notes += absent
    progress.start("judge", len(test))
    for number, record in enumerate(test.records):
        views = test.read(number)
        question, truth = question_of(views, protocol), over_white(chosen(views, protocol.targets))
        answers = [each.answer(question, views) for each in contestants]
        for contestant, (answer, _) in zip(contestants, answers, strict=True):
            check(answer, truth, contestant.name, record.id)
        figures = score([answer for answer, _ in answers], truth, networks)
        for contestant, (_, seconds), measured in zip(contestants, answers, figures, strict=True):
            contestant.scores.append(ObjectScores(record.id, record.tier, measured, seconds))
        progress.advance(number + 1)
    progress.finish()
    results = results.joined(replace(results, methods=tuple(each.result() for each in contestants), notes=tuple(notes)))
    return replace(results, methods=tuple(sorted(results.methods, key=lambda each: rank(each.name))))


def entered(names: Sequence[str], bench: Bench) -> tuple[list[Contestant], list[str]]:
    """The methods that can be built, and sentences about those whose weights are not here.

    Raises:
        MissingWeights: none can be built.
    """
    contestants, absent = list[Contestant](), list[str]()
    for name in names:
        try:
            contestants.append(Contestant(name, bench))
        except MissingWeights as error:
            absent.append(f"{name} was left out: {error}")
            if len(absent) == len(names):
                raise
    return contestants, absent


def limited(objects: ObjectSet, count: int) -> ObjectSet:
    """So many objects of each tier, those with the smallest hashes of their ids; 0 keeps all."""
    if not count:
        return objects
    kept: dict[str, list[str]] = {}
    for each in in_any_order(record.id for record in objects.records):
        kept.setdefault(objects.record(each).tier, []).append(each)
    ids = {each for tier in kept.values() for each in tier[:count]}
    return ObjectSet(objects.folder, [record for record in objects.records if record.id in ids], objects.manifest)


def lpips_networks(settings: ObjectsSettings, device: str) -> tuple[dict[str, Lpips], list[str]]:
    """The networks that can be had, and sentences about the others: a figure that is missing never ends a job."""
    wanted = {"both": ("alex", "vgg"), "none": ()}.get(settings.lpips, (settings.lpips,))
    networks, notes = dict[str, Lpips](), list[str]()
    for net in wanted:
        if settings.size < BACKBONES[net].smallest:
            notes.append(f"LPIPS {net} was not measured: it needs {BACKBONES[net].smallest} pixels and these pictures have {settings.size}")
            continue
        try:
            networks[net] = load_lpips(net).to(device)
        except Exception as error:
            notes.append(f"LPIPS {net} is absent: {error or type(error).__name__}")
    return networks, notes


def check(answer: Predicted, truth: Predicted, method: str, name: str) -> None:
    """Make sure that an answer can be scored.

    Raises:
        Gen3DError: it has other shapes than the truth, or numbers that are not finite.
    """
    for part in ("rgb", "alpha"):
        mine, its = getattr(answer, part), getattr(truth, part)
        if mine.shape != its.shape:
            raise Gen3DError(f"{method} answered for {name!r} with {part} of shape {tuple(mine.shape)}; it must be {tuple(its.shape)}")
        if not bool(torch.isfinite(mine).all()):
            raise Gen3DError(f"{method} answered for {name!r} with {part} that is not finite; mend the method, or leave it out")
