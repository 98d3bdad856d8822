"""The networks that come with the package."""

from importlib import resources
from pathlib import Path

from gen3d.errors import BadInput, MissingWeights, UsageError
from gen3d.priors.pictures import PictureEncoder, load_picture_encoder, reads_pictures
from gen3d.priors.text import HubEncoder, MiniLM, load_encoder
from gen3d.priors.volume.generate import TextModel
from gen3d.priors.volume.network import VolumeNetwork
from gen3d.priors.volume.settings import VolumeNetworkSettings
from gen3d.priors.volume.weights import load_network
from gen3d.priors.volume.words import Words, load_words

WORDS, SHIPPED_WORDS = "gvgen-words.safetensors", "gvgen-words-nano.safetensors"
FIELD, ATTRIBUTES = "gvgen-field-nano.safetensors", "gvgen-attributes-nano.safetensors"


def shipped_model(field: str = "", attributes: str = "", device: str = "cpu") -> TextModel:
    """The networks of files, or the shipped ones, and the encoder that they were trained with.

    Args:
        field: a file that gen3d train gvgen-field wrote; empty for the shipped one.
        attributes: a file that gen3d train gvgen-attributes wrote; empty for the shipped one.
        device: of the networks.

    Raises:
        MissingWeights: this build ships none, or the text encoder is not here.
        BadInput: a file is no such network, or the two do not go together.
    """
    networks = [_network(*pair) for pair in ((field, FIELD, "gvgen-field"), (attributes, ATTRIBUTES, "gvgen-attributes"))]
    first, second = networks
    if first.outputs != 1 or second.outputs == 1:
        raise BadInput(f"{field or FIELD} and {attributes or ATTRIBUTES} are not a network of fields and one of attributes")
    if (first.settings.size, first.settings.encoder) != (second.settings.size, second.settings.encoder):
        raise BadInput(
            f"the field has {first.settings.size} nodes and reads with {first.settings.encoder}, the attributes {second.settings.size} and "
            f"{second.settings.encoder}; give networks that were trained alike"
        )
    encoder = encoder_of(first.settings)
    return TextModel(first.to(device), second.to(device), encoder.to(device), _words(field))


def encoder_of(settings: VolumeNetworkSettings) -> MiniLM | HubEncoder | PictureEncoder:
    """What makes tokens for networks of these settings.

    Raises:
        MissingWeights: it is not here.
        MissingDependency: it needs transformers.
        BadInput: there is no such encoder.
        UsageError: its tokens have another width than the networks read.
    """
    encoder = load_picture_encoder(settings.encoder) if reads_pictures(settings.encoder) else load_encoder(settings.encoder)
    if encoder.width != settings.text:
        raise UsageError(
            f"{settings.encoder} gives tokens of {encoder.width} numbers and the network reads {settings.text}; "
            f"say --network.text {encoder.width}"
        )
    return encoder


def _words(field: str) -> Words | None:
    """What lies beside the network of fields."""
    if field:
        beside = Path(field).with_name(WORDS)
        return load_words(beside) if beside.is_file() else None
    with resources.as_file(resources.files("gen3d.priors") / "weights" / SHIPPED_WORDS) as path:
        return load_words(path) if Path(path).is_file() else None


def _network(file: str, shipped: str, prior: str) -> VolumeNetwork:
    if file:
        return load_network(file)
    with resources.as_file(resources.files("gen3d.priors") / "weights" / shipped) as path:
        if not Path(path).is_file():
            raise MissingWeights(f"this build has no {shipped}; train one with gen3d train {prior} and give it with --{prior[6:]}")
        return load_network(path)
