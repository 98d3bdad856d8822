"""What weights were taught to name: so that a prompt that lies far from all of it can be told."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.errors import BadInput
from gen3d.priors.network_files import read_network, write_network
from gen3d.priors.volume.looks import Looks

FORMAT = "gen3d-words-1"
ROWS = 256  # phrases that are compared with all others at once
ALONE = 0.05  # share of the phrases that are as far from all others as a prompt may be
SHOWN = 60  # letters of a prompt that are repeated


@dataclass(frozen=True, slots=True)
class Words:
    """Phrases of training objects.

    Attributes:
        phrases: the names of objects, each once.
        pooled: unit vectors of the text encoder `[n, d]`.
        looks: how the objects look; None where nobody knows.
    """

    phrases: tuple[str, ...]
    pooled: Float[Tensor, "n d"]
    looks: Looks | None = None

    @property
    def far(self) -> float:
        """The cosine below which a prompt is farther from all phrases than they are from each other; encoders differ in it."""
        if len(self.phrases) < 2:
            return -1.0
        nearest = [(rows @ self.pooled.T).topk(2).values[:, 1] for rows in self.pooled.split(ROWS)]  # the first is the phrase itself
        return float(torch.quantile(torch.cat(nearest), ALONE))

    def nearest(self, prompt: Float[Tensor, " d"]) -> tuple[str, float]:
        """The phrase that means most nearly the same, and the cosine between both."""
        cosines = self.pooled @ prompt.to(self.pooled)
        best = int(cosines.argmax())
        return self.phrases[best], float(cosines[best])

    def warning(self, prompt: str, pooled: Float[Tensor, " d"]) -> str:
        """A sentence where a prompt is far from everything that was taught; else nothing.

        Args:
            prompt: what is asked for.
            pooled: the vector of what the phrases tell as well, such as the prompt without its colours.
        """
        phrase, cosine = self.nearest(pooled)
        if cosine >= self.far:
            return ""
        told = shortened(prompt)
        return f"nothing like {told!r} was among what the weights have learned; the nearest is {phrase!r} (cosine {cosine:.2f})"


def shortened(prompt: str) -> str:
    """The beginning of a prompt, as messages repeat it."""
    return prompt if len(prompt) <= SHOWN else prompt[: SHOWN - 3] + "..."


def save_words(words: Words, path: str | Path) -> None:
    """Write them in one step, 8 bits a number."""
    tensors, told = {"pooled": words.pooled}, {"format": FORMAT, "phrases": json.dumps(words.phrases)}
    if (looks := words.looks) is not None:
        tensors |= {"looks.mean": looks.mean, "looks.axes": looks.axes, "looks.numbers": looks.numbers}
        told["owners"] = json.dumps((looks.pooled @ words.pooled.T).argmax(1).tolist())  # each object has the name of one phrase
    write_network(tensors, told, path)


def load_words(path: str | Path) -> Words:
    """The words of a file.

    Raises:
        BadInput: it is no such file.
    """
    tensors, told = read_network(path, FORMAT, "gen3d train gvgen-field")
    try:
        phrases: Sequence[str] = json.loads(told["phrases"])
        pooled = torch.nn.functional.normalize(tensors["pooled"], dim=-1)
        if len(phrases) != len(pooled):
            raise ValueError(f"{len(phrases)} phrases and {len(pooled)} vectors")
        owners = json.loads(told.get("owners", "null"))
        looks = None
        if owners is not None:
            mean, axes, numbers = (tensors[f"looks.{name}"] for name in ("mean", "axes", "numbers"))
            if len(owners) != len(numbers) or axes.shape != (len(mean), numbers.shape[1]):
                raise ValueError(f"{len(owners)} objects, looks of {tuple(numbers.shape)} and axes of {tuple(axes.shape)}")
            looks = Looks(mean, axes, numbers, pooled[owners])
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise BadInput(f"{path} holds words that contradict each other ({error}); train again") from error
    return Words(tuple(phrases), pooled, looks)
