"""Python's help texts as windows of tokens: splits by topic, windows by text, the real file."""

import importlib.util
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ccenv.annexes.networks.pretrained.packages import packaged_path
from ccenv.annexes.networks.pretrained.smollm import FILE, smollm2
from ccenv.data import SPLITS
from ccenv.networks.core.protocol import dense_forward
from ccenv.runs.lab import help_topics
from ccenv.runs.lab.help_topics import python_topics, tokenizer, topics, windows


def is_installed():
    try:
        packaged_path(FILE)
    except ImportError:
        return False
    return all(importlib.util.find_spec(name) for name in ("gguf", "tokenizers"))


real = pytest.mark.skipif(not is_installed(), reason=f"{FILE.package} or its reader is missing")


@real
@pytest.mark.slow
def test_the_file_gives_a_language_model():
    network, made = smollm2((8,)), tokenizer()
    assert len(network.gates) == 60
    assert sum(parameter.numel() for parameter in network.parameters()) == 134_515_008
    text = "The capital of France is"
    tokens = torch.tensor(made.encode(text).ids)
    with torch.no_grad():
        answer = int(dense_forward(network, tokens[None]).argmax())
    assert made.decode([answer]) == " Paris"
    assert made.decode(tokens.tolist()) == text


class Letters:
    """A tokeniser whose tokens are the bytes of a text."""

    def encode_batch(self, texts):
        return [SimpleNamespace(ids=[*text.encode()]) for text in texts]


def test_every_topic_is_in_one_split():
    from pydoc_data.topics import topics as every

    parts = [topics(split) for split in SPLITS]
    assert sorted(text for part in parts for text in part) == sorted(every.values())
    assert len(parts[0]) > 2 * max(len(parts[1]), len(parts[2]))


@given(
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=5),
    length=st.integers(1, 8),
)
def test_no_window_spans_two_texts_and_its_label_is_the_token_behind_it(lengths, length):
    texts = [100 * number + torch.arange(count) for number, count in enumerate(lengths)]
    if max(lengths) <= length:
        with pytest.raises(ValueError, match="choose shorter windows"):
            windows(texts, length)
        return
    inputs, labels = windows(texts, length)
    assert torch.equal(inputs, inputs[:, :1] + torch.arange(length))
    assert torch.equal(labels, inputs[:, -1] + 1)
    assert len(labels) == sum((max(count, 1) - 1) // length for count in lengths)


def test_windows_are_those_of_the_splits_topics(monkeypatch):
    monkeypatch.setattr(help_topics, "tokenizer", Letters)
    split = python_topics("validation", length=50)
    text = topics("validation")[0].encode()
    assert split.images.dtype == split.labels.dtype == torch.int64
    assert bytes(split.images[1].tolist()) == text[50:100]
    assert int(split.labels[1]) == text[100]
    assert split.image_shape == (50,)
    assert split.num_classes == 49_152


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="did you mean 'test'"):
        python_topics("tset")


@real
def test_the_real_tokens_fill_windows_of_the_vocabulary():
    split = python_topics("test")
    assert split.image_shape == (64,)
    assert len(split) > 200
    assert int(split.images.min()) >= 0
    assert int(split.images.max()) < split.num_classes
