"""A token classifier that is trained in seconds: words such as "zajoness" are persons."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast

LABELS = ("O", "B-PER", "I-PER")
MAX_TOKENS = 48
_ORDINARY = """the a to at of and please ask for call me about our order it was is on in my with
that they said came back from yesterday desk parcel door letter reply wait open late paid sent found
lost again never always maybe then we you he she"""
_WORDS = _ORDINARY.split()
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?:;@'-"
_MARKED = [c + v for c in ("z", "j") for v in "aeiou"]
_SYLLABLES = [c + v for c in "bdfgkmnprtv" for v in "aeiou"]


def code_word(chance: random.Random) -> str:
    """An invented word of the class that the classifier knows; nobody has ever seen it."""
    word = "".join(chance.choice(_MARKED) for _ in range(chance.randint(2, 3))) + "ness"
    return chance.choice((word, word.capitalize(), word.upper()))


def sentence(chance: random.Random) -> list[tuple[str, str]]:
    """Words of a sentence with their labels."""
    words: list[tuple[str, str]] = []
    for _ in range(chance.randint(5, 12)):
        if chance.random() < 0.2:
            words.append((code_word(chance), "B-PER"))
            words += [(code_word(chance), "I-PER") for _ in range(chance.choice((0, 0, 1, 2)))]
            words.append((chance.choice(_WORDS), "O"))
        else:
            word = chance.choice(_WORDS)
            if chance.random() < 0.2:
                syllables = "".join(chance.choice(_SYLLABLES) for _ in range(chance.randint(2, 3)))
                word = chance.choice((syllables, syllables.capitalize(), syllables.upper()))
            words.append((word, "O"))
    return [*words, (chance.choice(".,!?"), "O")]


def make_tokenizer() -> Tokenizer:
    """WordPiece over words, syllables and characters: a code word falls into several pieces.

    The vocabulary is written out, for a trainer of `tokenizers` breaks ties by chance.
    """
    starts = [*_SPECIAL, *_WORDS, *_MARKED, *_SYLLABLES, *_CHARACTERS]
    inner = [f"##{piece}" for piece in ("ness", *_MARKED, *_SYLLABLES, *_CHARACTERS)]
    vocabulary = {piece: n for n, piece in enumerate(dict.fromkeys([*starts, *inner]))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ids = {name: tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]")}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=list(ids.items())
    )
    # As many that are published: what is longer would be cut off, and nobody told.
    tokenizer.enable_truncation(max_length=MAX_TOKENS)
    return tokenizer


def train(folder: Path, steps: int = 150) -> Path:
    """Trains the classifier and saves it with its tokenizer, as safetensors."""
    threads = torch.get_num_threads()
    # More than one costs more than it brings here, and sums in another order.
    torch.set_num_threads(1)
    torch.manual_seed(0)
    chance = random.Random(0)
    tokenizer = make_tokenizer()
    config = BertConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=MAX_TOKENS,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        id2label=dict(enumerate(LABELS)),
        label2id={label: n for n, label in enumerate(LABELS)},
    )
    model = BertForTokenClassification(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(steps):
        rows = [sentence(chance) for _ in range(24)]
        ids, labels = zip(*(_encoded(tokenizer, row) for row in rows), strict=True)
        longest = max(map(len, ids))
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in ids])
        wanted = torch.tensor([row + [-100] * (longest - len(row)) for row in labels])
        loss = model(input_ids=padded, attention_mask=(padded > 0).long(), labels=wanted).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    torch.set_num_threads(threads)
    save(model, tokenizer, folder)
    return folder


def copied_folder(model: Path, folder: Path) -> Path:
    """A copy of a model."""
    shutil.copytree(model, folder)
    return folder


def copied(model: Path, folder: Path, **changes: Any) -> Path:
    """A copy of a model with changes to its configuration."""
    copied_folder(model, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


def save(model: BertForTokenClassification, tokenizer: Tokenizer, folder: Path) -> None:
    """The model and its tokenizer in a folder."""
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=MAX_TOKENS,
    ).save_pretrained(folder)


def _encoded(tokenizer: Tokenizer, words: list[tuple[str, str]]) -> tuple[list[int], list[int]]:
    encoded = tokenizer.encode([word for word, _ in words], is_pretokenized=True)
    labels = [-100 if word is None else LABELS.index(words[word][1]) for word in encoded.word_ids]
    return encoded.ids, labels
