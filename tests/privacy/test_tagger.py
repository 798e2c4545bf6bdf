"""The tagger: words, thresholds, and what the shipped network finds."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.services.privacy.tagger import Tagger, find_spans
from recollect.services.privacy.tagger.labels import LABELS
from recollect.services.privacy.tagger.words import features_of, words_of

TAGGER = Tagger.load()
SENTENCE = "Mr Olumide Brzezicki, born on 3 May 1964, lives at 12 Quarry Street, Leeds LS1 4AB."


@given(st.text())
def test_words_stand_in_the_text_where_they_say(text: str) -> None:
    words = words_of(text)
    for word, start in zip(words.texts, words.starts, strict=True):
        assert text[start : start + len(word)] == word
    visible = "".join(w for w in words.texts if w[0] != "\n")
    assert visible == regex.sub(r"\s", "", text)


@given(st.text(min_size=1).filter(lambda word: bool(word.strip())))
def test_every_word_has_features_within_the_tables(word: str) -> None:
    for piece in words_of(word).texts:
        found = features_of(piece)
        assert 0 <= found.word < 49_152
        assert 0 <= found.shape < 1_024
        assert all(0 <= subword < 32_768 for subword in found.subwords)


@given(st.text(max_size=200))
def test_a_lower_threshold_only_adds(text: str) -> None:
    def covered(threshold: float) -> set[int]:
        return {i for s in find_spans(TAGGER, text, threshold) for i in range(s.start, s.end)} & {
            i for i, c in enumerate(text) if c.isalnum()
        }

    assert covered(0.8) <= covered(0.4) <= covered(0.1)


@given(st.text(max_size=100), st.text(max_size=100))
@settings(max_examples=25)
def test_what_was_read_before_changes_nothing(first: str, second: str) -> None:
    fresh = Tagger.load()
    expected = fresh.probabilities(words_of(second))
    used = Tagger.load()
    used.probabilities(words_of(first))
    np.testing.assert_allclose(used.probabilities(words_of(second)), expected, atol=1e-5)


def test_probabilities_are_those_of_the_labels() -> None:
    words = words_of(SENTENCE)
    found = TAGGER.probabilities(words)
    assert found.shape == (len(words), len(LABELS))
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-5)


def test_a_text_without_words_has_no_spans() -> None:
    assert find_spans(TAGGER, " \t ", 0.01) == []
    assert find_spans(TAGGER, "", 0.01) == []


def test_people_dates_and_addresses_are_found_and_told_apart() -> None:
    kinds = {SENTENCE[s.start : s.end]: s.kind for s in find_spans(TAGGER, SENTENCE, 0.35)}
    assert kinds["Olumide Brzezicki"] == "PERSON"
    assert kinds["3 May 1964"] == "DATE"
    assert kinds["12 Quarry Street, Leeds LS1 4AB"] == "ADDRESS"


@pytest.mark.parametrize(
    "text",
    [
        "Preheat the oven and stir for ten minutes before you add the eggs.",
        "How do I reset my password? The link in the email has expired.",
        "To solve the equation, subtract three from both sides and divide by two.",
    ],
)
def test_ordinary_sentences_hold_nobody(text: str) -> None:
    assert find_spans(TAGGER, text, 0.35) == []


def test_the_end_of_a_long_text_is_read() -> None:
    text = "We walked on and on. " * 5_000 + "Then Olumide Brzezicki came."
    spans = find_spans(TAGGER, text, 0.35)
    assert text[spans[-1].start : spans[-1].end] == "Olumide Brzezicki"


def test_no_word_that_was_read_is_kept() -> None:
    tagger = Tagger.load()
    find_spans(tagger, "Olumide Brzezicki", 0.35)
    assert "Brzezicki" not in repr(vars(tagger))
    assert all(isinstance(key, int) for key in tagger._rows)


def test_the_cache_of_words_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recollect.services.privacy.tagger.network.MAX_CACHED", 50)
    tagger = Tagger.load()
    for number in range(40):
        tagger.probabilities(words_of(" ".join(f"w{number}{chr(97 + i)}" for i in range(20))))
        assert len(tagger._rows) <= 50


def test_a_text_with_more_words_than_the_cache_holds_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = " ".join(f"{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(300)) + " " + SENTENCE
    expected = find_spans(TAGGER, text, 0.35)
    monkeypatch.setattr("recollect.services.privacy.tagger.network.MAX_CACHED", 50)
    assert find_spans(Tagger.load(), text, 0.35) == expected


def test_threads_that_share_a_tagger_find_what_each_would_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("recollect.services.privacy.tagger.network.MAX_CACHED", 200)
    texts = [
        f"{SENTENCE} " + " ".join(f"{chr(97 + n % 26)}{chr(97 + i % 26)}x" for i in range(60))
        for n in range(60)
    ]
    expected = [find_spans(Tagger.load(), text, 0.35) for text in texts[:26]]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        tagger = Tagger.load()
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda text: find_spans(tagger, text, 0.35), texts * 4))
    finally:
        sys.setswitchinterval(interval)
    for place, spans in enumerate(found):
        assert spans == expected[place % 60 % 26]


def test_words_whose_bytes_are_the_same_are_told_apart() -> None:
    assert hash("ab") == hash("\u6261")
    tagger = Tagger.load()
    tagger.probabilities(words_of("ab"))
    expected = Tagger.load().probabilities(words_of("\u6261"))
    np.testing.assert_allclose(tagger.probabilities(words_of("\u6261")), expected)


def test_a_word_that_failed_fails_again() -> None:
    tagger = Tagger.load()
    for _ in range(2):
        with pytest.raises(UnicodeEncodeError):
            tagger.probabilities(words_of("\ud800"))


def test_a_tagger_of_other_labels_is_refused(tmp_path: Path) -> None:
    text = json.dumps({"labels": ["O", "B-HAT"], "dilations": [1]})
    path = tmp_path / "tagger.npz"
    np.savez(path, description=np.frombuffer(text.encode(), np.uint8))
    with pytest.raises(ValueError, match="other labels"):
        Tagger.load(path)


def test_the_shipped_file_is_small() -> None:
    path = Path(str(files("recollect.services.privacy.tagger") / "model" / "tagger.npz"))
    assert path.stat().st_size <= 12 * 2**20
