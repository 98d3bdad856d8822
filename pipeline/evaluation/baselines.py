"""What can be answered without having learned anything: white, means, copies, and training objects that look alike."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from gen3d.pipeline.evaluation.gallery import (
    Describe,
    Gallery,
    Keys,
    features,
    gallery_of,
    keys_of,
    mean_answer,
    nearest,
    pixels,
    recoloured,
    reduced,
    silhouettes,
)
from gen3d.pipeline.evaluation.objects_protocol import Ceiling, Method, ObjectsProtocol, Predicted, Question, chosen, over_white
from gen3d.pipeline.evaluation.settings import ObjectsSettings
from gen3d.pipeline.objects.object_set import ObjectSet
from gen3d.pipeline.progress import Progress
from gen3d.priors.perceptual import load_lpips
from gen3d.renderers.cameras import Cameras

SEVERAL = 4  # training objects whose mean is an answer
BEHIND = -1e-4  # cosine between the directions of two cameras over the ground, below which they see opposite sides


@dataclass(frozen=True)
class Bench:
    """What methods are built with.

    Attributes:
        protocol: that decides what they are asked.
        training_set: finds the pictures of the training objects, or draws them.
        progress: listener.
        settings: of the evaluation.
        device: cpu or cuda, for methods that compute.
        backend: of `rasterize`.
    """

    protocol: ObjectsProtocol
    training_set: Callable[[], ObjectSet]
    progress: Progress
    settings: ObjectsSettings
    device: str = "cpu"
    backend: str = "auto"

    @cached_property
    def gallery(self) -> Gallery:
        """The training objects; drawn and read when a method first asks for them."""
        return gallery_of(self.training_set(), self.protocol, self.progress)


@dataclass(frozen=True, slots=True)
class Entrant:
    """A method that is ready to answer.

    Attributes:
        answer: answers a question.
        facts: what was chosen when it was built, for the report.
    """

    answer: Method
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Informed:
    """A method that also sees the truth: what others can be measured by, no answer to the question.

    Attributes:
        answer: answers a question, beside every view of the object.
        facts: as those of an `Entrant`.
    """

    answer: Ceiling
    facts: dict[str, Any]


@dataclass(frozen=True)
class Retrieval:
    """Answers with the views of the training objects that look most alike in the given view.

    Attributes:
        gallery: the training objects.
        protocol: that decides which views are given and asked for.
        describe: what is compared.
        keys: what the training objects look like.
        count: objects whose mean is the answer.
        recolour: whether they are brought to the colours of the given picture.
    """

    gallery: Gallery
    protocol: ObjectsProtocol
    describe: Describe
    keys: Keys
    count: int = 1
    recolour: bool = False

    def __call__(self, question: Question, allowed: Bool[Tensor, " n"] | None = None) -> Predicted:
        """The answer, from training objects that are allowed to give it."""
        given, answers = chosen(question.given, [0]), []
        for number in nearest(self.describe(reduced(given))[0], self.keys, self.count, allowed):
            views = self.gallery.objects.read(number)
            wanted = chosen(views, self.protocol.targets)
            if self.recolour:
                wanted = recoloured(wanted, chosen(views, self.protocol.given[:1]), given)
            answers.append(over_white(wanted))
        return mean_answer(answers)


def white(question: Question) -> Predicted:
    """Nothing at all."""
    shape = (question.targets.shape[-1], question.targets.height, question.targets.width)
    return Predicted(torch.ones(*shape, 3), torch.zeros(shape))


def copy(question: Question) -> Predicted:
    """The given picture in every view, mirrored left to right in those from behind."""
    given = over_white(chosen(question.given, [0]))
    count = question.targets.shape[-1]
    rgb, alpha = given.rgb.repeat(count, 1, 1, 1), given.alpha.repeat(count, 1, 1)
    behind = from_behind(question.given.cameras.select([0]), question.targets)
    return Predicted(
        torch.where(behind[:, None, None, None], rgb.flip(2), rgb),
        torch.where(behind[:, None, None], alpha.flip(2), alpha),
    )


def from_behind(camera: Cameras, others: Cameras) -> Bool[Tensor, " v"]:
    """Which views look against the direction of a camera `[1]`, whatever their heights; those from the side do not."""
    along, ahead = others.forward[:, [0, 2]], camera.forward[0, [0, 2]]
    return torch.nn.functional.normalize(along, dim=-1) @ torch.nn.functional.normalize(ahead, dim=-1) < BEHIND


def build_white(bench: Bench) -> Entrant:
    """All white."""
    return Entrant(white, {})


def build_mean(bench: Bench) -> Entrant:
    """The mean training picture of each view."""
    mean, index = bench.gallery.mean, list(bench.protocol.targets)
    answer = Predicted(mean.rgb[index], mean.alpha[index])
    return Entrant(lambda question: answer, {"objects": len(bench.gallery.objects)})


def build_copy(bench: Bench) -> Entrant:
    """The given picture."""
    return Entrant(copy, {})


def build_nearest_pixels(bench: Bench) -> Entrant:
    """The training object whose given view has the nearest colours."""
    return Entrant(retrieval(bench, pixels), {})


def build_nearest_silhouette(bench: Bench) -> Entrant:
    """The training object whose given view covers the nearest pixels, recoloured."""
    return Entrant(retrieval(bench, silhouettes, recolour=True), {})


def build_several_silhouettes(bench: Bench) -> Entrant:
    """The mean of the four nearest by silhouette, recoloured."""
    return Entrant(several(bench), {"count": SEVERAL})


def build_nearest_lpips(bench: Bench) -> Entrant:
    """The training object whose given view has the nearest deep features."""
    lpips = load_lpips("alex").to(bench.device)
    return Entrant(retrieval(bench, features(lpips)), {"network": "alex"})


def several(bench: Bench) -> Retrieval:
    """The four nearest by silhouette, recoloured."""
    return retrieval(bench, silhouettes, count=SEVERAL, recolour=True)


def retrieval(bench: Bench, describe: Describe, *, count: int = 1, recolour: bool = False) -> Retrieval:
    """A retrieval among the training objects of a bench."""
    return Retrieval(bench.gallery, bench.protocol, describe, keys_of(describe(bench.gallery.fronts)), count, recolour)
