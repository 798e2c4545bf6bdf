from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.services.replay.embedding import NUM_DIMENSIONS, embed

TEXTS = st.text(st.characters(codec="utf-8"), max_size=60)
SAMPLE = ["Where is my parcel?", "where  is my\nPARCEL?", "", "x", "你好,世界", "a" * 5000]
PROBE = f"""
import hashlib
from recollect.services.replay.embedding import embed
print(hashlib.sha256(embed({SAMPLE!r}).tobytes()).hexdigest())
"""


@settings(deadline=None, max_examples=60)
@given(texts=st.lists(TEXTS, max_size=8))
def test_a_vector_depends_on_its_text_alone(texts: list[str]) -> None:
    together = embed(texts)
    assert together.shape == (len(texts), NUM_DIMENSIONS)
    assert together.dtype == np.float32
    for text, vector in zip(texts, together, strict=True):
        assert np.array_equal(embed([text])[0], vector)


@settings(deadline=None, max_examples=60)
@given(text=TEXTS)
def test_a_vector_has_length_one_unless_there_is_no_word(text: str) -> None:
    # A word is what ASCII white space parts.
    length = float(np.linalg.norm(embed([text])[0]))
    has_word = bool(text.encode().split())
    assert length == pytest.approx(1.0 if has_word else 0.0, abs=1e-5)


def test_groups_of_a_large_input_do_not_change_a_vector() -> None:
    texts = [f"{number} " + "lorem ipsum " * 5000 for number in range(30)]
    vectors = embed(texts)
    for place in (0, 8, 9, 29):
        assert np.array_equal(embed([texts[place]])[0], vectors[place])


def test_processes_agree_on_every_bit() -> None:
    own = hashlib.sha256(embed(SAMPLE).tobytes()).hexdigest()
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", PROBE],
            capture_output=True,
            text=True,
            check=True,
            env=environment,
        )
        assert done.stdout.strip() == own


def test_case_and_spacing_do_not_count_and_wording_does() -> None:
    first, second, *_ = vectors = embed([*SAMPLE[:2], "I want my money back."])
    assert float(first @ second) == pytest.approx(1.0)
    assert float(first @ vectors[2]) < 0.5


def test_a_small_edit_stays_near_and_another_text_does_not() -> None:
    words = [hashlib.sha256(bytes([n])).hexdigest()[: 3 + n % 7] for n in range(200)]
    edited = list(words)
    for place in range(0, 200, 50):
        edited[place] = "replaced"
    near, far = embed([" ".join(words), " ".join(edited)]), embed([" ".join(sorted(words)), "no"])
    assert float(near[0] @ near[1]) > 0.9
    assert float(near[0] @ far[1]) < 0.3


def test_no_gram_reaches_across_two_texts() -> None:
    vectors = embed(["ab", "cd"])
    assert float(vectors[0] @ embed(["ab cd"])[0]) < 0.9
    assert np.array_equal(vectors[0], embed(["ab"])[0])


@pytest.mark.slow
def test_a_core_embeds_a_megabyte_a_second() -> None:
    texts = [hashlib.sha256(str(n).encode()).hexdigest() * 30 for n in range(1000)]
    started = time.process_time()
    embed(texts)
    # A quarter of what an idle core of 2.5 GHz does, so that a busy machine does not fail it.
    assert sum(map(len, texts)) / (time.process_time() - started) > 1e6
