"""The networks that come with the package."""

from gen3d.errors import BadInput, UsageError
from gen3d.priors.pictures import HubPictures, PictureEncoder, load_picture_encoder, picture_file, reads_pictures
from gen3d.priors.shipped import weight_file
from gen3d.priors.text import HubEncoder, MiniLM, load_encoder
from gen3d.priors.volume.generate import TextModel
from gen3d.priors.volume.settings import VolumeNetworkSettings
from gen3d.priors.volume.weights import load_network
from gen3d.priors.volume.words import load_words

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
    files = [
        weight_file(field, FIELD, "gvgen-field", "--field"),
        weight_file(attributes, ATTRIBUTES, "gvgen-attributes", "--attributes"),
    ]
    first, second = (load_network(path) for path in files)
    if first.outputs != 1 or second.outputs == 1:
        raise BadInput(f"{field or FIELD} and {attributes or ATTRIBUTES} are not a network of fields and one of attributes")
    if (first.settings.size, first.settings.encoder) != (second.settings.size, second.settings.encoder):
        raise BadInput(
            f"the field has {first.settings.size} nodes and reads with {first.settings.encoder}, the attributes {second.settings.size} and "
            f"{second.settings.encoder}; give networks that were trained alike"
        )
    encoder, name = encoder_of(first.settings), first.settings.encoder
    places = [files[0].with_name(name) for name in (WORDS, SHIPPED_WORDS)]
    words = next((path for path in places if path.is_file()), None)
    files += [words] if words else []
    if isinstance(encoder, PictureEncoder):
        files.append(picture_file(name))
    known = load_words(words) if words else None
    return TextModel(first.to(device), second.to(device), encoder.to(device), known, tuple(files))


def encoder_of(settings: VolumeNetworkSettings) -> MiniLM | HubEncoder | PictureEncoder | HubPictures:
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
