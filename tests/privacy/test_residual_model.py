"""A model of somebody's own looks as well, and sees what nobody else does."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.privacy.residual import Verdict, judge
from recollect.services.privacy.residual.detector import SecondDetector
from recollect.services.privacy.residual.model import ModelFinder

from . import tiny_classifier as tiny

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tiny.train(tmp_path_factory.mktemp("tiny") / "model")
    torch.set_num_threads(threads)


def test_a_model_finds_what_the_second_detector_does_not_know(model: Path) -> None:
    chance = random.Random(5)
    words = [tiny.code_word(chance).lower() for _ in range(40)]
    texts = [f"the {word} was late again." for word in words]
    others = SecondDetector().find(texts)
    finder = ModelFinder(model)
    found = finder.find(texts)
    num_new = 0
    for text, own, other in zip(texts, found, others, strict=True):
        judged = judge([text], [own], ())
        if not other and any(one.verdict is Verdict.SURVIVING for one in judged):
            num_new += 1
            assert all(one.stage == "verifier" for one in judged)
    assert num_new > len(texts) / 2
    # Equal weights, equal name; of the folder, its last part alone.
    assert finder.name == ModelFinder(model).name
    assert finder.name.startswith("model model ")


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecollectError) as caught:
        ModelFinder(tmp_path)
    assert caught.value.reason is Reason.MODEL_UNUSABLE
