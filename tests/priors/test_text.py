"""Sentences as vectors: our MiniLM is the published one, whatever it stands beside in a batch."""

import json

import pytest
import torch

from gen3d.errors import BadInput
from gen3d.priors.text import WORDS, HubEncoder, MiniLM, load_encoder, renamed
from gen3d.priors.zoo import list_weights

CACHED = {stored.weight.name for stored in list_weights() if stored.present}


@pytest.fixture
def words(tmp_path):
    """A tokenizer of a few words."""
    known = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "red", "blue", "barrel", "wood", "##en"]
    special = [{"id": i, "content": known[i], "special": True} for i in range(4)]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    content = {
        "version": "1.0",
        "added_tokens": [{**each, **flags} for each in special],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "BertProcessing",
            "sep": ["[SEP]", 3],
            "cls": ["[CLS]", 2],
        },
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {word: i for i, word in enumerate(known)},
        },
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    return tmp_path / "tokenizer.json"


def test_it_is_bert(words):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    shape = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    theirs = transformers.BertModel(transformers.BertConfig(vocab_size=WORDS, **shape), add_pooling_layer=False).eval()
    ours = MiniLM(words).eval()
    ours.load_state_dict(renamed(theirs.state_dict()))
    sentences = ["a red wooden barrel", "Blue barrel"]
    found = ours(sentences)
    ids = torch.tensor([[2, 4, 5, 8, 9, 7, 3], [2, 6, 7, 3, 0, 0, 0]])
    with torch.no_grad():
        expected = theirs(ids, (ids > 0).long()).last_hidden_state
    assert torch.equal(found.mask, ids > 0)
    assert torch.allclose(found.tokens[found.mask], expected[found.mask], atol=1e-5)
    assert torch.equal(found.tokens[~found.mask], torch.zeros(3, 384))
    alone = ours(sentences[1:])
    assert alone.tokens.shape[1] == 4
    assert torch.allclose(alone.pooled[0], found.pooled[1], atol=1e-6)
    assert torch.allclose(found.pooled.norm(dim=-1), torch.ones(2))


def test_long_and_empty_sentences_are_read(words):
    encoder = MiniLM(words).eval()
    assert encoder(["red " * 1000]).tokens.shape == (1, 128, 384)
    assert encoder([""]).mask.sum() == 2
    assert [encoder.cuts("red " * count) for count in (0, 126, 127)] == [False, False, True]  # beside them stand two marks


def test_damaged_words_are_told(tmp_path):
    (tmp_path / "words.json").write_text("{}")
    with pytest.raises(BadInput, match="holds no tokenizer"):
        MiniLM(tmp_path / "words.json")


def test_published_cosines():
    if not {"minilm", "minilm-words"} <= CACHED:
        pytest.skip("minilm is not in the cache; gen3d models pull minilm minilm-words")
    pairs = [
        ("a red sports car", "a crimson automobile", 0.56),
        ("a wooden chair", "an oak armchair", 0.77),
        ("a wooden chair", "fog", 0.2),
    ]
    encoder = load_encoder()
    for one, other, cosine in pairs:
        first, second = encoder([one, other]).pooled
        assert float(first @ second) == pytest.approx(cosine, abs=0.05 if cosine > 0.5 else 0.2)


def test_encoders_of_a_folder(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    from scenes import save_pipeline

    source = save_pipeline(tmp_path / "sd")
    folder = tmp_path / "clip"
    transformers.CLIPTextModel.from_pretrained(source / "text_encoder").save_pretrained(folder)
    transformers.CLIPTokenizer.from_pretrained(source / "tokenizer").save_pretrained(folder)
    encoder = load_encoder(str(folder))
    assert isinstance(encoder, HubEncoder)
    found = encoder(["a red chair", "car"])
    assert [encoder.cuts("car " * count) for count in (1, 100)] == [False, True]
    assert (encoder.width, found.tokens.shape[0], found.tokens.shape[2]) == (8, 2, 8)
    assert torch.allclose(found.pooled.norm(dim=-1), torch.ones(2))
    with pytest.raises(BadInput, match="holds no text encoder"):
        load_encoder(str(tmp_path))
