"""The deadline of a text: what bounds the sum of all patterns, and ends what nobody waits for."""

from __future__ import annotations

import hashlib
import itertools
import threading
import time

import pytest
from presidio_analyzer import Pattern, PatternRecognizer

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.privacy import Deidentifier, Policy
from recollect.services.privacy.deadline import (
    GivenUp,
    keep_to_deadline,
    text_deadline,
    time_left,
    uncounted,
    unless,
)
from recollect.services.privacy.detector import Detector
from recollect.services.privacy.known import find_known
from recollect.services.privacy.names import PersonRecognizer
from recollect.services.privacy.quasi_patterns import QuasiPatternRecognizer
from recollect.services.privacy.shadow import shadow_of

from .conftest import KEY, chat

LONG = "a" * 40 + "b c"


class Slow(PatternRecognizer):
    """Many patterns that each keep within a time-out of their own."""

    def __init__(self) -> None:
        patterns = [Pattern(f"slow {number}", r"(a|a)*c", 0.9) for number in range(1000)]
        super().__init__(supported_entity="ORDER_ID", patterns=patterns, name="Slow")


def _with(policy: Policy, recognizer: PatternRecognizer) -> Deidentifier:
    deidentifier = Deidentifier(policy, KEY, without=frozenset({"tagger"}))
    vars(deidentifier)["_detector"] = Detector(policy, [recognizer], frozenset({"tagger"}))
    return deidentifier


def _refusal(deidentifier: Deidentifier, text: str) -> RecollectError:
    with pytest.raises(RecollectError) as caught:
        deidentifier.deidentify(chat(text))
    assert caught.value.reason is Reason.DEIDENTIFICATION_FAILED
    return caught.value


def test_a_pattern_within_its_own_time_out_still_ends_with_the_text() -> None:
    policy = Policy(regex_timeout_seconds=3600, text_timeout_seconds=0.3)
    error = _refusal(_with(policy, Slow()), LONG)
    assert error.message == "The text took longer than 0.3 seconds."
    assert "text_timeout_seconds" in error.fix


def test_a_long_text_is_refused_though_no_pattern_takes_long() -> None:
    error = _refusal(Deidentifier(Policy(text_timeout_seconds=0.01), KEY), "words " * 15_000)
    assert "0.01 seconds" in error.message


@pytest.mark.parametrize("call", ["find", "explain", "preview", "clean_name"])
def test_every_way_into_the_room_keeps_to_the_deadline(call: str) -> None:
    deidentifier = _with(Policy(regex_timeout_seconds=60, text_timeout_seconds=0.1), Slow())
    with pytest.raises(RecollectError, match="took longer"):
        getattr(deidentifier, call)([LONG] if call == "explain" else LONG)


def test_a_pattern_that_runs_out_before_its_text_is_the_texts_refusal() -> None:
    # `regex` counts processor time of all threads: beside a busy one, half of the text's time.
    is_over = threading.Event()
    busy = threading.Thread(target=_keep_busy, args=(is_over,))
    busy.start()
    try:
        policy = Policy(regex_timeout_seconds=3600, text_timeout_seconds=0.5)
        error = _refusal(_with(policy, Slow()), LONG)
    finally:
        is_over.set()
        busy.join()
    assert error.message == "The text took longer than 0.5 seconds."


def _keep_busy(is_over: threading.Event) -> None:
    block = bytes(1 << 20)
    while not is_over.is_set():
        hashlib.sha256(block)


def test_names_known_values_and_quasi_patterns_keep_to_it_too() -> None:
    with text_deadline(0.0, 1):
        for work in (
            lambda: PersonRecognizer(60).analyze("Mr Smith", ["PERSON"]),
            lambda: QuasiPatternRecognizer(60).analyze("Mr Smith, 3 May 1980", []),
            lambda: list(find_known("Mr Smith", ["Smith"], 60)),
        ):
            with pytest.raises(RecollectError, match="took longer"):
                work()


def test_a_longer_text_has_more_time() -> None:
    with text_deadline(0.001, 250_000):
        time.sleep(0.01)
        with pytest.raises(RecollectError, match=r"than 0\.003 seconds"):
            keep_to_deadline()


def test_a_step_has_what_is_left_to_the_text_and_no_more_than_its_own() -> None:
    assert time_left(5.0) == 5.0
    with text_deadline(1000.0, 1):
        assert time_left(5.0) == 5.0
        assert 5.0 < time_left(5000.0) <= 1000.0
    assert time_left(5000.0) == 5000.0


def test_what_a_model_takes_is_not_counted() -> None:
    with text_deadline(60.0, 1):
        before = time_left(100.0)
        with uncounted():
            time.sleep(0.2)
            waiting = time_left(100.0)
        assert time_left(100.0) > waiting
        assert before - waiting >= 0.2


def test_work_that_nobody_waits_for_ends_in_the_middle_of_a_record(
    deidentifier: Deidentifier,
) -> None:
    asked = itertools.count()
    with unless(lambda: next(asked) >= 100), pytest.raises(GivenUp):
        deidentifier.deidentify(chat("Dear Rosa, " * 10_000))
    assert next(asked) == 101
    assert deidentifier.deidentify(chat("hello")).messages[0].content == "hello"


def test_the_time_out_is_part_of_the_fingerprint_where_it_is_set() -> None:
    assert Policy(text_timeout_seconds=30).fingerprint == Policy().fingerprint
    assert Policy(text_timeout_seconds=31).fingerprint != Policy().fingerprint


def test_underscores_and_findings_without_end_take_linear_time() -> None:
    # With the square of their number they would take hours.
    assert shadow_of("_" * 400_000).text == "_" * 400_000
    assert shadow_of("_a_ b__c d_e __").text == " a  b  c d_e __"
