"""What the self-test refuses: parts that are missing, idle or dead, though nobody misses them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.privacy import ENTITY_TYPES, Policy
from recollect.services.privacy.detector import Detector
from recollect.services.privacy.self_test import STOCK
from recollect.services.privacy.sockets import sockets_opened


def _lose(detector: Detector) -> None:
    # Another recognizer finds cards as well.
    detector._recognizers = [r for r in detector._recognizers if r.name != "CreditCardRecognizer"]


def _never_ask(detector: Detector) -> None:
    asked = detector._reader._asked
    detector._reader._asked = [a for a in asked if a.recognizer.name != "EmailRecognizer"]


def _tag_nothing(detector: Detector) -> None:
    (tagger,) = (r for r in detector._recognizers if r.name == "Tagger")

    class Mute:
        def probabilities(self, words: Any) -> Any:
            answer = np.zeros((len(words), 64), np.float32)
            answer[:, 0] = 1.0
            return answer

    tagger._tagger = Mute()


def _see_no_quasi(detector: Detector) -> None:
    detector._quasi.analyze = lambda *_: []  # type: ignore[union-attr,method-assign]


def _fail_quasi(detector: Detector) -> None:
    def fail(text: str, _: Any) -> Any:
        raise ValueError(text)

    detector._quasi.analyze = fail  # type: ignore[union-attr,method-assign]


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (_lose, "CreditCardRecognizer is not loaded"),
        (_never_ask, "EmailRecognizer is loaded and never asked"),
        (_tag_nothing, "the tagger finds nobody"),
        (_see_no_quasi, "the patterns of the quasi stage find nothing"),
        (_fail_quasi, "a recognizer failed with ValueError"),
    ],
)
def test_a_part_that_fails_in_silence_is_named(harm: Callable[[Detector], None], told: str) -> None:
    detector = Detector(Policy())
    harm(detector)
    with pytest.raises(RecollectError) as caught:
        detector.prove()
    assert caught.value.reason is Reason.DEIDENTIFICATION_FAILED
    assert told in caught.value.message
    assert "Smith" not in str(caught.value)


def test_the_stock_recognizers_are_those_that_are_loaded() -> None:
    loaded = Detector(Policy(entities=ENTITY_TYPES))._recognizers
    found = {r.name: set(r.supported_entities) for r in loaded}
    assert all(entity in found[name] for name, entity in STOCK.items())


def test_what_a_thread_does_with_sockets_is_recorded_and_what_others_do_is_not() -> None:
    def use() -> None:
        socket.socket().close()

    with sockets_opened() as opened:
        assert opened == []
        other = threading.Thread(target=use)
        other.start()
        other.join()
        assert opened == []
        with sockets_opened() as within:
            use()
        assert within == ["socket.__new__"]
        use()
        assert opened == ["socket.__new__"]
    use()
    assert opened == ["socket.__new__"]
