"""Batches of volumes with what is told of them; all a function of seed and step."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from gen3d.errors import UsageError
from gen3d.pipeline.objects.views import LONGEST_SIDE, RING_ELEVATION, object_cameras
from gen3d.pipeline.objects.words import dominant_colors
from gen3d.pipeline.training.batches import settings_seed, tier_chances
from gen3d.pipeline.training.phrases import in_other_colors, phrases
from gen3d.pipeline.training.volume_settings import VolumeTrainingSettings
from gen3d.pipeline.volumes.surface import FILLED
from gen3d.pipeline.volumes.volume_set import VolumeSet
from gen3d.priors.multiview.views import GivenViews, draw, to_pictures
from gen3d.priors.pictures import HubPictures, PictureEncoder, reads_pictures
from gen3d.priors.samplers.objectives import stratified
from gen3d.priors.text import Encoder
from gen3d.priors.told import Told
from gen3d.priors.volume.field import distance_field
from gen3d.priors.volume.volume import COLOR, GaussianVolume, mirrored, visible
from gen3d.renderers.frames import move_gaussians, rigid
from gen3d.renderers.harmonics import sh0_to_rgb

TOGETHER = 64  # sentences that are encoded at once
EXCHANGED: tuple[tuple[int, int, int], ...] = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))  # colour channels
TWICE = 2  # phrases for each other order of them
ASIDE, HEIGHTS = 20.0, (0.0, 40.0)  # degrees that pictures of the front may be taken from beside it, and from above the horizon


@dataclass(frozen=True, slots=True)
class VolumeBatch:
    """Objects.

    Attributes:
        volumes: the generated form `[b, 13, n, n, n]`.
        fields: distances in [-1, 1] `[b, 1, n, n, n]`.
        told: of the objects.
        times: in (0, 1) `[b]`.
        seeds: of the noise of each object `[b]`.
    """

    volumes: Float[Tensor, "b 13 n n n"]
    fields: Float[Tensor, "b 1 n n n"]
    told: Told
    times: Float[Tensor, " b"]
    seeds: tuple[int, ...]

    def to(self, device: torch.device) -> "VolumeBatch":
        """The same on another device; Lightning calls it."""
        there = {each.name: getattr(self, each.name).to(device) for each in fields(self) if each.name != "seeds"}
        return replace(self, **there)

    def noise(self, channels: int, stream: int = 0) -> Float[Tensor, "b c n n n"]:
        """Normal numbers, of each object by its seed; those of other streams are others."""
        shape = (channels, *self.fields.shape[2:])
        parts = [torch.randn(shape, generator=torch.Generator().manual_seed(seed + stream)) for seed in self.seeds]
        return torch.stack(parts).to(self.fields)


@dataclass(frozen=True, slots=True)
class Sentences:
    """Encoded phrases of objects, in half precision: a library's take some hundred megabytes.

    Attributes:
        tokens: of each phrase of each object, `[n, d]` of its own length.
        pooled: a vector of each.
    """

    tokens: tuple[tuple[Tensor, ...], ...]
    pooled: tuple[tuple[Tensor, ...], ...]

    def told(self, chosen: Sequence[tuple[int, int] | None]) -> Told:
        """What is told of objects by the numbers of object and phrase; None tells nothing."""
        width = self.pooled[0][0].shape[-1]
        longest = max(len(self.tokens[pair[0]][pair[1]]) if pair else 1 for pair in chosen)
        tokens, mask, pooled = torch.zeros(len(chosen), longest, width), torch.zeros(len(chosen), longest, dtype=torch.bool), []
        for row, pair in enumerate(chosen):
            if pair is None:
                pooled.append(torch.zeros(width))
                continue
            each = self.tokens[pair[0]][pair[1]].float()
            tokens[row, : len(each)], mask[row, : len(each)] = each, True
            pooled.append(self.pooled[pair[0]][pair[1]].float())
        return Told(tokens, mask, torch.stack(pooled))


def asked_for(volumes: VolumeSet, settings: VolumeTrainingSettings) -> list[list[str]]:
    """The phrases of objects, the full caption of each first, and then those in other colours; a function of seed and ids."""
    rows = []
    for number, record in enumerate(volumes.records):
        numbers = random.Random(f"{settings.seed} {record.id}")
        row = phrases(record.name, record.colors, record.category, settings.phrases, numbers, settings.dropped)
        splats = visible(GaussianVolume.of_generated(volumes.read(number)).gaussians())
        shown = sh0_to_rgb(splats.sh[:, 0]).clamp(0, 1)
        for order in EXCHANGED[1:] if settings.recolored else ():
            row += in_other_colors(record.name, dominant_colors(shown[:, list(order)], torch.ones(len(shown))), TWICE, numbers)
        rows.append(row)
    return rows


def encoded(volumes: VolumeSet, encoder: Encoder, settings: VolumeTrainingSettings) -> Sentences:
    """What the phrases of `asked_for` are to an encoder."""
    asked = asked_for(volumes, settings)
    known = sorted({each for row in asked for each in row}, key=lambda each: (len(each), each))  # alike in length, which saves padding
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for start in range(0, len(known), TOGETHER):
        part = known[start : start + TOGETHER]
        result = encoder(part)
        for number, phrase in enumerate(part):
            found[phrase] = (result.tokens[number][result.mask[number]].half().cpu(), result.pooled[number].half().cpu())
    tokens, pooled = (tuple(tuple(found[each][part] for each in row) for row in asked) for part in (0, 1))
    return Sentences(tokens, pooled)


def pictured(volumes: VolumeSet, encoder: PictureEncoder | HubPictures, settings: VolumeTrainingSettings) -> Sentences:
    """Pictures of objects, the plain front of each first, the others from about there; a function of the seed and the object's id."""
    tokens, pooled = [], []
    for number, record in enumerate(volumes.records):
        numbers = random.Random(f"{settings.seed} {record.id}")
        others = [(numbers.uniform(-ASIDE, ASIDE), numbers.uniform(*HEIGHTS)) for _ in range(settings.phrases - 1)]
        angles = [(0.0, RING_ELEVATION), *others]
        splats = GaussianVolume.of_generated(volumes.read(number)).gaussians()
        placed = move_gaussians(splats, rigid(torch.eye(3), scale=LONGEST_SIDE / FILLED))  # as large as in its encoder's training
        azimuths, elevations = zip(*angles, strict=True)
        shown = draw(placed, object_cameras(azimuths, elevations, encoder.size))
        fronts = object_cameras([0.0] * len(angles), elevations, encoder.size)  # who sees a picture calls its side the front
        cameras = replace(fronts, world_to_camera=fronts.world_to_camera[:, None], intrinsics=fronts.intrinsics[:, None])
        found = encoder(GivenViews(to_pictures(shown).clamp(-1, 1)[:, None], shown.alpha[:, None].clamp(0, 1), cameras))
        tokens.append(tuple(found.tokens.half()))
        pooled.append(tuple(found.pooled.half()))
    return Sentences(tuple(tokens), tuple(pooled))


class VolumeBatches(Dataset[VolumeBatch]):
    """The batch of every step, by its number; ranks take turns with its objects.

    Args:
        volumes: to choose from.
        sentences: of these objects.
        settings: of the training.
        rank: of this process.
        world: number of processes; divides the objects of a batch.
        accumulate: batches of a step.

    Raises:
        UsageError: the processes cannot share the objects of a step equally.
    """

    def __init__(
        self, volumes: VolumeSet, sentences: Sentences, settings: VolumeTrainingSettings, rank: int = 0, world: int = 1, accumulate: int = 1
    ) -> None:
        if settings.objects % world:
            raise UsageError(f"{settings.objects} objects of a step cannot be shared by {world} processes; choose a multiple")
        self._volumes, self._sentences, self._settings = volumes, sentences, settings
        self._rank, self._world, self._accumulate = rank, world, accumulate
        self._chances = tier_chances([record.tier for record in volumes.records], settings.balance)
        self._fields: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return self._settings.steps * self._accumulate

    def __getitem__(self, index: int) -> VolumeBatch:
        settings, generator = self._settings, torch.Generator().manual_seed(settings_seed(self._settings.seed, index))
        count = settings.objects
        chosen = torch.multinomial(self._chances, count, generator=generator, replacement=count > len(self._volumes)).tolist()
        seeds = torch.randint(2**62, (count,), generator=generator).tolist()
        phrase = torch.randint(settings.phrases, (count,), generator=generator).tolist()
        untold = (torch.rand(count, generator=generator) < settings.untold).tolist()
        may = not reads_pictures(settings.network.encoder)  # a sentence is true of the object in the mirror, a picture is not
        flipped = [may and each for each in (torch.rand(count, generator=generator) < 0.5).tolist()]
        times = stratified(count, generator)
        orders = torch.randint(1, len(EXCHANGED), (count,), generator=generator)
        orders = torch.where((torch.rand(count, generator=generator) < settings.recolored) & may, orders, 0)
        phrase = [
            k if order == 0 else settings.phrases + TWICE * (order - 1) + k % TWICE
            for k, order in zip(phrase, orders.tolist(), strict=True)
        ]
        mine = range(self._rank, count, self._world)
        parts = [self.objects(chosen[i], mirror=flipped[i], order=EXCHANGED[int(orders[i])]) for i in mine]
        told = self._sentences.told([None if untold[i] else (chosen[i], phrase[i]) for i in mine])
        volumes, distances = (torch.stack(part) for part in zip(*parts, strict=True))
        return VolumeBatch(volumes, distances, told, times[list(mine)].float(), tuple(seeds[i] for i in mine))

    def objects(
        self, number: int, *, mirror: bool, order: tuple[int, int, int] = EXCHANGED[0]
    ) -> tuple[Float[Tensor, "13 n n n"], Float[Tensor, "1 n n n"]]:
        """The volume and the field of an object, or of the one in the mirror at x = 0; with its colour channels in another order."""
        values = self._volumes.read(number).clone()
        values[COLOR] = values[COLOR][list(order)]
        if number not in self._fields:
            self._fields[number] = distance_field(GaussianVolume.of_generated(values)).half()
        field = self._fields[number].float()
        return (mirrored(GaussianVolume.of_generated(values)).generated(), field.flip(1)) if mirror else (values, field)
