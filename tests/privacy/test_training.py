"""How the tagger is made: invented text whose labels are right, and a run time that agrees."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recollect.services.privacy.tagger import Tagger
from recollect.services.privacy.tagger.labels import ANY, KINDS, LABELS, OUTSIDE, bit
from recollect.services.privacy.tagger.words import words_of
from recollect.services.privacy.training.__main__ import mean_of, save
from recollect.services.privacy.training.dataset import GAP, Document, collate, labelled
from recollect.services.privacy.training.fill import Filler
from recollect.services.privacy.training.fill_numbers import Segment
from recollect.services.privacy.training.gold import split_of
from recollect.services.privacy.training.network import Network, loss_of
from recollect.services.privacy.training.noise import disturb
from recollect.services.privacy.training.template import expand, templates

DOMAINS = ("judgments", "support", "social", "records", "prose")
OPEN = {"PRODUCT", "PRICE", "DAY", None}


@pytest.fixture(scope="module")
def fill() -> Filler:
    return Filler(random.Random(1), ("Rosalind", "Tobias"))


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_template_fills_its_slots_and_labels_them(domain: str, fill: Filler) -> None:
    for split in ("train", "dev", "test"):
        for template in templates(domain, split):
            for _ in range(5):
                segments = expand(template, fill)
                text = "".join(part for part, _ in segments)
                assert text.strip()
                assert {label for _, label in segments} <= {*KINDS, *OPEN}
                document = labelled(disturb(segments, fill.draw))
                assert len(document.allowed) == len(document.texts) == len(document.spaced)
                assert all(0 < allowed <= ANY for allowed in document.allowed)


@pytest.mark.parametrize("domain", DOMAINS)
def test_no_template_is_in_two_splits(domain: str) -> None:
    train, dev, test = (templates(domain, split) for split in ("train", "dev", "test"))
    assert not set(train) & (set(dev) | set(test))
    assert not set(dev) & set(test)
    assert min(len(dev), len(test)) >= 3


def test_rows_of_one_template_or_article_share_a_split() -> None:
    splits = [split_of(f"presidio template {number}") for number in range(500)]
    assert splits == [split_of(f"presidio template {number}") for number in range(500)]
    shares = {split: splits.count(split) / 500 for split in ("train", "dev", "test")}
    assert 0.55 < shares["train"] < 0.75
    assert min(shares["dev"], shares["test"]) > 0.1


def test_words_take_the_labels_of_their_segments() -> None:
    document = labelled(
        [("My name is ", None), ("Rosa Acht", "PERSON"), (" from ", None), ("X", "UNKNOWN")]
    )
    names = ["B-PERSON", "I-PERSON"]
    assert document.texts == ["My", "name", "is", "Rosa", "Acht", "from", "X"]
    assert document.allowed == [OUTSIDE] * 3 + [bit(name) for name in names] + [OUTSIDE, ANY]


def test_a_set_that_is_silent_on_dates_leaves_them_open() -> None:
    whole = labelled([("in 1964 ", None)], "all").allowed
    silent = labelled([("in 1964 ", None)], "ner").allowed
    assert whole == [OUTSIDE, OUTSIDE]
    assert all(allowed & bit("B-DATE") and allowed & OUTSIDE for allowed in silent)
    assert not any(allowed & bit("B-PERSON") for allowed in silent)


def _documents(fill: Filler, count: int) -> list[Document]:
    lines = templates("prose", "train")
    return [labelled(expand(fill.draw.choice(lines), fill)) for _ in range(count)]


def test_the_loss_falls_and_open_words_do_not_count(fill: Filler) -> None:
    torch.manual_seed(0)
    network = Network(drop=0.0)
    batch = collate(_documents(fill, 40))
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    losses = []
    for _ in range(15):
        loss = loss_of(network(batch), batch["allowed"])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    scores = torch.randn(6, len(LABELS))
    allowed = torch.tensor([OUTSIDE, ANY, OUTSIDE, ANY, OUTSIDE, OUTSIDE])
    closed = allowed != ANY
    assert loss_of(scores, allowed).item() == pytest.approx(
        loss_of(scores[closed], allowed[closed]).item()
    )
    assert loss_of(scores, torch.full((6,), OUTSIDE | bit("B-DATE"))).item() > 0


def test_the_run_time_says_what_the_network_says(fill: Filler, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Network().eval()
    save(network, tmp_path / "tagger.npz", {})
    tagger = Tagger.load(tmp_path / "tagger.npz")
    text = "Mr Olumide Brzezicki, born on 3 May 1964, lives at\n12 Quarry Street. 他住在北京。"
    words = words_of(text)
    document = Document(words.texts, words.spaced, [ANY] * len(words))
    with torch.no_grad():
        # A document before and one behind it: no convolution may see across the gap.
        batch = collate([*_documents(fill, 1), document, *_documents(fill, 1)])
        expected = torch.softmax(network(batch), 1).numpy()
    ends = np.flatnonzero(batch["ids"].numpy() < 0)
    start = int(ends[GAP - 1]) + 1
    # Tables are kept in 8 bits, the rest in 16.
    np.testing.assert_allclose(
        tagger.probabilities(words), expected[start : start + len(words)], atol=5e-3
    )


def test_the_mean_of_two_trainings_lies_half_way() -> None:
    one, two = Network().state_dict(), Network().state_dict()
    mean = mean_of(one, two)
    assert mean.keys() == one.keys()
    for name, tensor in mean.items():
        assert torch.allclose(tensor - one[name], two[name] - tensor, atol=1e-6)


@given(st.integers(0, 10_000))
def test_noise_loses_no_label(seed: int) -> None:
    segments: list[Segment] = [
        ("Seen by ", None),
        ("Rosa, Acht", "PERSON"),
        (", in ", None),
        ("Leeds", "LOC"),
    ]
    noisy = disturb(list(segments), random.Random(seed))
    assert [label for _, label in noisy] == [label for _, label in segments]
    assert "".join(text for text, _ in noisy).strip()
