from __future__ import annotations

import logging
from typing import Any, NoReturn

import pytest
import tldextract
from hypothesis import given, settings
from hypothesis import strategies as st
from presidio_analyzer import LocalRecognizer, Pattern, PatternRecognizer
from presidio_analyzer.predefined_recognizers import EmailRecognizer, UsPassportRecognizer

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.privacy import ENTITY_TYPES, Deidentifier, Policy
from recollect.services.privacy.detector import Detector, pieces
from recollect.services.privacy.engine import BlankEngine, ContextRule
from recollect.services.privacy.plainest import PLAINEST


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector(Policy())


def types(detector: Detector, text: str) -> set[str]:
    return {finding.entity_type for finding in detector.find(text)}


def test_the_self_test_passes_and_every_recognizer_is_loaded(detector: Detector) -> None:
    detector.prove()
    assert {"EmailRecognizer", "DensePhoneRecognizer", "PersonRecognizer"} <= set(
        detector.recognizers
    )
    assert "SpacyRecognizer" not in detector.recognizers
    assert "PhoneRecognizer" not in detector.recognizers


def test_the_self_test_fails_where_context_words_do_nothing() -> None:
    broken = Detector(Policy())
    broken._reader._rule = ContextRule(context_similarity_factor=0.0)
    broken._reader._rule.min_score_with_context_similarity = 0.0
    with pytest.raises(RecollectError, match="context words do not raise scores"):
        broken.prove()


def test_the_self_test_fails_where_a_pattern_is_not_sealed() -> None:
    broken = Detector(Policy())
    email = next(r for r in broken._recognizers if r.name == "EmailRecognizer")
    email.patterns[0].compiled_regex = None
    with pytest.raises(RecollectError, match="not sealed"):
        broken.prove()


def test_the_self_test_fails_where_a_recognizer_finds_nothing() -> None:
    broken = Detector(Policy())
    (email,) = (a for a in broken._reader._asked if a.recognizer.name == "EmailRecognizer")
    assert email.patterns is not None
    email.patterns.clear()
    with pytest.raises(RecollectError, match="miss the plainest EMAIL_ADDRESS"):
        broken.prove()


@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_the_self_test_passes_whatever_the_threshold_and_the_entities(threshold: float) -> None:
    Detector(Policy(score_threshold=threshold, entities=ENTITY_TYPES)).prove()
    Detector(Policy(score_threshold=threshold, entities=frozenset({"URL"}))).prove()
    Detector(Policy(phone_regions=())).prove()


def test_each_entity_type_has_a_plainest_text() -> None:
    assert set(PLAINEST) == ENTITY_TYPES - {"KNOWN_VALUE"}


def test_a_context_word_lifts_a_weak_finding_over_the_threshold(detector: Detector) -> None:
    assert "US_PASSPORT" not in types(detector, "the parts are 918273645")
    assert "US_PASSPORT" in types(detector, "her travel paper is 918273645")


def test_a_context_word_inside_another_word_lifts_nothing(detector: Detector) -> None:
    # "lic" is a context word of licences; it must not be found in "public".
    assert "US_DRIVER_LICENSE" not in types(detector, "a public talk about the S23 and M3456")


LONG = "a" * 30 + "b c"


class Slow(PatternRecognizer):
    def __init__(self) -> None:
        super().__init__(
            supported_entity="ORDER_ID",
            patterns=[Pattern("pathological", r"(a|a)*c", 0.9)],
            name="Slow",
        )


def test_a_pattern_that_times_out_fails_the_text_instead_of_being_skipped() -> None:
    detector = Detector(Policy(regex_timeout_seconds=0.05), extra=[Slow()])
    with pytest.raises(RecollectError) as caught:
        detector.find(LONG)
    assert caught.value.reason is Reason.DEIDENTIFICATION_FAILED
    assert "PatternTimeout" in caught.value.message


def test_stock_presidio_skips_the_same_pattern_which_is_why_it_is_sealed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("presidio_analyzer.pattern_recognizer.REGEX_TIMEOUT_SECONDS", 0.05)
    caplog.set_level(logging.WARNING, logger="presidio-analyzer")
    assert Slow().analyze(LONG, ["ORDER_ID"]) == []
    assert "timed out" in caplog.text


class Broken(LocalRecognizer):
    def __init__(self) -> None:
        super().__init__(supported_entities=["PERSON"], name="Broken")

    def load(self) -> None:
        pass

    def analyze(self, text: str, entities: list[str], nlp_artifacts: Any = None) -> NoReturn:
        raise ValueError(f"cannot read {text}")


def test_an_exception_in_a_recognizer_fails_the_text_without_quoting_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(RecollectError) as caught:
        Detector(Policy(), extra=[Broken()]).find("rosa.acht@mail.example.com")
    assert caught.value.reason is Reason.DEIDENTIFICATION_FAILED
    assert "rosa" not in str(caught.value)
    assert "rosa" not in caplog.text


def test_no_log_at_any_level_holds_text(
    detector: Detector, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    detector.find("my passport is 918273645, mail quillon@mail.example.com")
    assert "918273645" not in caplog.text
    assert "quillon" not in caplog.text


def test_sealing_leaves_the_patterns_that_the_process_shares_alone() -> None:
    Detector(Policy())
    stock: Any = UsPassportRecognizer()
    assert stock.analyze("918273645", ["US_PASSPORT"])
    assert not any(
        type(pattern.compiled_regex).__name__ == "SealedRegex" for pattern in stock.patterns
    )


def test_email_addresses_are_found_without_looking_anything_up() -> None:
    # The room's fixture refuses every socket and look-up; the stock extractor would try both.
    found = Detector(Policy()).find("write to someone@mail.example.co.uk")
    assert "EMAIL_ADDRESS" in {finding.entity_type for finding in found}
    extractor: Any = tldextract.extract
    assert extractor.suffix_list_urls == ()
    assert EmailRecognizer().analyze("a@b.example.com", ["EMAIL_ADDRESS"])


@pytest.mark.parametrize("entity", sorted(Policy().entities - {"KNOWN_VALUE"}))
def test_each_entity_type_of_the_default_policy_is_found_in_its_plainest_form(
    detector: Detector, entity: str
) -> None:
    assert entity in types(detector, PLAINEST[entity])


@given(
    st.text(alphabet=st.sampled_from("ab \n"), max_size=400),
    st.integers(40, 90),
    st.integers(4, 20),
)
@settings(max_examples=60, deadline=None)
def test_pieces_cover_the_text_and_none_is_longer_than_its_size(
    text: str, size: int, overlap: int
) -> None:
    parts = list(pieces(text, size, overlap))
    assert all(text[start : start + len(piece)] == piece for start, piece in parts)
    assert all(len(piece) <= size for _, piece in parts)
    covered = {i for start, piece in parts for i in range(start, start + len(piece))}
    assert covered == set(range(len(text)))


@pytest.mark.parametrize("before", [950, 985, 990, 1000, 1010, 1900, 5000])
def test_an_identifier_at_the_edge_of_a_piece_is_found_whole(before: int) -> None:
    policy = Policy(chunk_characters=1_000, chunk_overlap=200)
    text = "so it is " * (before // 9) + "rosa.achterberg@mail.example.com" + " and on" * 200
    found = Deidentifier(policy, bytes(16)).find(text)
    spans = {text[f.start : f.end] for f in found if f.entity_type == "EMAIL_ADDRESS"}
    assert spans == {"rosa.achterberg@mail.example.com"}


def test_the_engine_gives_lower_case_tokens_as_lemmas() -> None:
    engine = BlankEngine()
    artifacts = engine.process_text("My Passport, please", "en")
    assert artifacts.lemmas == ["my", "passport", ",", "please"]
    assert artifacts.tokens_indices == [0, 3, 11, 13]
    assert "passport" in artifacts.keywords
    assert "my" not in artifacts.keywords


def test_the_tokenizer_forgets_words_once_they_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fresh = len(BlankEngine().pipeline.vocab.strings)
    monkeypatch.setattr("recollect.services.privacy.engine.MAX_WORDS", fresh + 200)
    engine = BlankEngine()
    for number in range(100):
        tokens = engine.process_text(f"word{number}a word{number}b w{number}c", "en").tokens
        assert len(list(tokens)) == 3
        assert len(engine.pipeline.vocab.strings) <= fresh + 400
