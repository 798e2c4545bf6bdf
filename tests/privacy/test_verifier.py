"""The verifier with a real model: a small classifier that the tests train, saved as safetensors."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Message, Speaker
from recollect.services.privacy import Deidentifier
from recollect.services.privacy.policy import ENTITY_TYPES, Policy
from recollect.services.privacy.tagging import shipped_tagger
from recollect.services.privacy.verifier import Verifier, VerifierOptions
from recollect.services.privacy.verifier.classifier import TokenClassifier
from recollect.services.privacy.verifier.uncertain import uncertain_passages

from . import tiny_classifier as tiny

KEY = bytes(range(32))
CASCADE = Deidentifier(Policy.from_mapping({"entities": "all"}), KEY)
LATE = "the zajoness was late again"
TWICE = "the {0} was late. they said that {0} came back."


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """More than one thread costs more than it brings here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def code_words(seed: int) -> list[str]:
    """Many words that the classifier knows."""
    chance = random.Random(seed)
    return [tiny.code_word(chance) for _ in range(100)]


@pytest.fixture(scope="module")
def missed() -> str:
    """A word that the classifier knows and that no other stage finds where these tests put it."""
    words = (word.lower() for word in code_words(17))
    return next(word for word in words if not CASCADE.find(TWICE.format(word)))


@pytest.fixture(scope="module")
def plain_model(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, with labels that do not tell where a finding begins."""
    labels = {"id2label": {"0": "O", "1": "PER", "2": "PER"}, "label2id": {"O": 0, "PER": 1}}
    return tiny.copied(model, tmp_path_factory.mktemp("plain") / "model", **labels)


def options(model: Path, **values: Any) -> VerifierOptions:
    return VerifierOptions(model=str(model), **values)


def load(model: Path, **values: Any) -> Verifier:
    return Verifier.load(options(model, **values), ENTITY_TYPES)


def policy(model: Path, **values: Any) -> Policy:
    verifier = {"model": str(model), **values}
    return Policy.from_mapping({"name": "mine", "entities": "all", "verifier": verifier})


def values(text: str, verifier: Verifier) -> list[str]:
    return [text[f.start : f.end] for f in verifier.find([text])[0]]


def test_what_the_cascade_misses_is_found_and_replaced_wherever_it_stands(
    model: Path, missed: str
) -> None:
    text = TWICE.format(missed)
    deidentifier = Deidentifier(policy(model, only_uncertain=False), KEY)
    deidentifier.prove()
    messages = [Message(speaker=Speaker.USER, content=text)]
    done = deidentifier.deidentify(messages)
    assert missed not in done.messages[0].content
    assert done.findings == (("PERSON", 2),)
    found = deidentifier.find(text)
    assert [(text[f.start : f.end], f.stage) for f in found] == [(missed, "verifier")] * 2
    left_out = Deidentifier(deidentifier.policy, KEY, without=frozenset({"verifier"}))
    assert left_out.find(text) == []


def test_what_the_verifier_found_once_the_document_pass_finds_again(
    model: Path, missed: str
) -> None:
    text = TWICE.format(missed)
    likely = max(f.score for f in load(model).find([text])[0])
    chosen = policy(model, only_uncertain=False, threshold=likely)
    stages = [f.stage for f in Deidentifier(chosen, KEY).find(text)]
    assert sorted(stages) == ["document", "verifier"]
    assert missed not in Deidentifier(chosen, KEY).preview(text).text


def test_words_of_many_pieces_are_found_whole_and_two_words_are_one_person(model: Path) -> None:
    verifier = load(model)
    assert values("call Zajoness jizezoness, and ask for ZUJANESS.", verifier) == [
        "Zajoness jizezoness",
        "ZUJANESS",
    ]
    # Full-width letters, and a soft hyphen inside: the span is that of the text as it stands.
    hidden = "please ask for zajo\N{SOFT HYPHEN}ness at the door"
    assert values(hidden, verifier) == ["zajo\N{SOFT HYPHEN}ness"]


def test_long_texts_are_read_to_their_end_whatever_the_tokenizer_says(model: Path) -> None:
    verifier = load(model)
    chance = random.Random(3)
    words = [word for _ in range(60) for word, _ in tiny.sentence(chance) if "ness" not in word]
    places = [*range(7, len(words), 11), len(words)]
    names = [tiny.code_word(chance) for _ in places]
    for place, name in zip(reversed(places), reversed(names), strict=True):
        words.insert(place, name)
    found = [word for value in values(" ".join(words), verifier) for word in value.split()]
    missing = [name for name in names if name not in found]
    assert len(names) > 40
    assert missing == []


@pytest.mark.parametrize("shift", range(0, 40, 3))
def test_no_finding_is_cut_where_windows_meet(plain_model: Path, shift: int) -> None:
    name = "zajoness jizezoness zujaness"
    text = "it was late and " * 10 + "on " * shift + f"we ask {name} again. " + "it was late " * 10
    assert name in values(text, load(plain_model))


def test_many_texts_at_a_time_give_what_each_gives_alone(model: Path) -> None:
    chance = random.Random(7)
    texts = [
        " ".join(w for w, _ in tiny.sentence(chance)) * chance.randint(1, 9) for _ in range(40)
    ]
    texts += ["", " \n", "x"]
    alone = [load(model, max_batch=1).find([text])[0] for text in texts]
    for batch in (1, 7, 64):
        together = load(model, max_batch=batch).find(texts)
        assert [[(f.start, f.end, f.entity_type) for f in fs] for fs in together] == [
            [(f.start, f.end, f.entity_type) for f in fs] for fs in alone
        ]
    assert sum(map(len, alone)) > 40
    assert load(model).find(texts) == load(model).find(texts)


def test_threads_that_share_a_verifier_find_what_each_would_alone(model: Path) -> None:
    verifier = load(model)
    chance = random.Random(11)
    texts = [" ".join(w for w, _ in tiny.sentence(chance)) for _ in range(24)]
    expected = [verifier.find([text]) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda text: verifier.find([text]), texts)) == expected


def test_it_finds_what_transformers_own_pipeline_finds(model: Path) -> None:
    from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

    theirs = pipeline(
        "token-classification",
        model=AutoModelForTokenClassification.from_pretrained(model),
        tokenizer=AutoTokenizer.from_pretrained(model),
        aggregation_strategy="first",
    )
    chance = random.Random(13)
    compared = 0
    for _ in range(60):
        text = " ".join(word for word, _ in tiny.sentence(chance)[:8])
        found = load(model, subwords="first", threshold=0.02).find([text])[0]
        if any(f.score < 0.9 for f in found):
            # Theirs asks which label is likeliest, ours whether any that names somebody is.
            continue
        expected = {(int(one["start"]), int(one["end"])) for one in theirs(text)}
        assert {(f.start, f.end) for f in found} == expected, text
        compared += len(expected)
    assert compared > 30


def test_only_uncertain_reads_less_and_finds_all_that_is_uncertain(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    plain = TokenClassifier.read

    def noted(self: TokenClassifier, texts: list[str]) -> Any:
        read.extend(texts)
        return plain(self, texts)

    monkeypatch.setattr(TokenClassifier, "read", noted)
    calm = "it was late and we said that they came back from the door. " * 5
    names = code_words(99)[:60]
    text = calm + calm.join(f"please ask for {name} at the desk. " for name in names) + calm
    everything = Deidentifier(policy(model, only_uncertain=False), KEY).find(text)
    assert sum(map(len, read)) == len(text)
    assert set(names) <= {text[f.start : f.end] for f in everything}
    read.clear()
    uncertain = Deidentifier(policy(model, only_uncertain=True), KEY).find(text)
    passages = uncertain_passages(shipped_tagger(), text, CASCADE.find(text))
    assert read == [text[start:end] for start, end in passages]
    assert 0 < sum(map(len, read)) < len(text) / 5
    spans = {(f.start, f.end) for f in uncertain}
    found = [f for f in everything if text[f.start : f.end] in names]
    within = {(f.start, f.end) for f in found if any(a <= f.start < b for a, b in passages)}
    assert len(within) > 1
    assert within <= spans
    # On the CPU that is what happens if nothing is said.
    assert load(model).only_uncertain is (not torch.cuda.is_available())
    assert not load(model, only_uncertain=False).only_uncertain


def test_without_the_tagger_nothing_is_certain(model: Path) -> None:
    without = frozenset({"tagger"})
    deidentifier = Deidentifier(policy(model, only_uncertain=True), KEY, without)
    assert [LATE[f.start : f.end] for f in deidentifier.find(LATE)] == ["zajoness"]


def test_it_opens_no_socket(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was opened")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    verifier = load(tiny.copied(model, tmp_path / "copy"))
    verifier.prove()
    assert values(LATE, verifier) == ["zajoness"]
    with pytest.raises(RecollectError) as caught:
        Verifier.load(VerifierOptions(model="nobody/has-this-model"), ENTITY_TYPES)
    assert caught.value.reason is Reason.MODEL_UNUSABLE
    assert "allow_downloads" in (caught.value.fix or "")


def test_a_model_of_the_roberta_kind_is_read_to_its_last_position(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import (
        PreTrainedTokenizerFast,
        RobertaConfig,
        RobertaForTokenClassification,
    )

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(["it was late and we came back"] * 9, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=34,
        id2label={0: "O", 1: "PER"},
        label2id={"O": 0, "PER": 1},
    )
    network = RobertaForTokenClassification(config)
    with torch.no_grad():
        # Whatever it reads is a person's: what it does not read shows.
        network.classifier.bias.copy_(torch.tensor([-9.0, 9.0]))
    network.save_pretrained(tmp_path)
    PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(tmp_path)
    verifier = load(tmp_path)
    verifier.prove()
    text = "it was late and zürich came back " * 40
    covered = {place for f in verifier.find([text])[0] for place in range(f.start, f.end)}
    assert covered >= {place for place, c in enumerate(text) if c.isalnum()}
