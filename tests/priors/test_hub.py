"""Failures of libraries that read models, in one sentence."""

import pytest
from safetensors import SafetensorError

from gen3d.errors import BadInput, MissingDependency
from gen3d.priors.hub import reading
from gen3d.priors.text import load_encoder


@pytest.mark.parametrize("error", [OSError("no such file\nsee the manual"), SafetensorError("no such file"), RuntimeError("no such file")])
def test_what_libraries_raise_becomes_one_sentence(error):
    with pytest.raises(BadInput) as told, reading("folder", "text encoder", "minilm"):
        raise error
    assert str(told.value) == "folder holds no text encoder (no such file); give minilm"


def test_errors_without_words_are_named_by_their_kind():
    with pytest.raises(BadInput, match=r"\(ValueError\)"), reading("folder", "text encoder", "minilm"):
        raise ValueError


def test_missing_packages_are_told_as_they_are():
    with pytest.raises(MissingDependency, match="transformers"), reading("folder", "text encoder", "minilm"):
        raise MissingDependency("transformers is missing")


def test_damaged_weights_in_a_folder_are_told(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    transformers.BertModel(config).save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(BadInput, match="holds no text encoder"):
        load_encoder(str(tmp_path))
