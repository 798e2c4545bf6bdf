from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.kernel import Kernel
from recollect.services.ledger import Ledger
from recollect.services.replay import ReplayStore
from recollect.services.stream import ChatTemplate, TokenCaches, gathering

from .framing import encoded


@given(
    bits=st.lists(st.booleans(), min_size=1, max_size=200),
    cuts=st.lists(st.tuples(st.integers(0, 199), st.integers(0, 60)), max_size=12),
    gaps=st.integers(0, 9),
    compiled=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_bits_of_ranges_are_copied_to_any_place_but_the_first_of_each(
    bits: list[bool], cuts: list[tuple[int, int]], gaps: int, compiled: bool
) -> None:
    begins = np.array([begin % len(bits) for begin, _ in cuts], dtype=np.int64)
    lengths = np.array([length for _, length in cuts], dtype=np.int64)
    lengths = np.minimum(lengths, len(bits) - begins)
    places = gaps + np.concatenate(([0], np.cumsum(lengths)))[:-1].astype(np.int64)
    out = np.zeros((gaps + int(lengths.sum()) + 7) // 8, dtype=np.uint8)
    kernel = gathering._COPY_BITS
    copy = kernel.compiled if compiled else kernel.plain
    copy(np.packbits(bits, bitorder="little"), begins, lengths, places, out)
    expected = [False] * gaps
    for begin, length in zip(begins, lengths, strict=True):
        expected += [False][:length] + bits[begin + 1 : begin + length]
    found = np.unpackbits(out, bitorder="little").astype(bool).tolist()
    assert found[: len(expected)] == expected
    assert not any(found[len(expected) :])


@pytest.mark.parametrize("dtype", [np.int32, np.uint16])
@pytest.mark.parametrize("compiled", [False, True])
def test_words_of_ranges_are_copied_in_either_width(compiled: bool, dtype: type) -> None:
    words = np.arange(1000, dtype=np.int32)
    begins, lengths = np.array([5, 990, 7]), np.array([4, 10, 0])
    out: np.ndarray = np.zeros(14, dtype=dtype)
    kernel = gathering._COPY_WORDS
    copy = kernel.compiled if compiled else kernel.plain
    copy(words, begins, lengths, np.array([10, 0, 14]), out)
    assert out.tolist() == [*range(990, 1000), 5, 6, 7, 8]


def test_what_is_prepared_is_all_that_real_files_need(
    replicas: Any, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba", reason="without a compiler there is nothing to prepare")
    kernels = Kernel(gathering._copy_words), Kernel(gathering._copy_bits)
    monkeypatch.setattr(gathering, "_COPY_WORDS", kernels[0])
    monkeypatch.setattr(gathering, "_COPY_BITS", kernels[1])
    gathering.compile_kernels()
    dispatchers: list[Any] = [kernel.compiled for kernel in kernels]
    prepared = [list(dispatcher.signatures) for dispatcher in dispatchers]
    # Token ids are copied to four bytes or to two.
    assert [len(signatures) for signatures in prepared] == [2, 1]
    made = replicas.make_replica(tmp_path_factory.mktemp("gathering") / "data")
    with Ledger.open(made.folder) as ledger:
        store, template = ReplayStore.open(made.folder, ledger), ChatTemplate.load(made.model)
        opened = TokenCaches(made.folder / "cache", store=store, template=template)
        for plan in (made.plan, *made.weighed.values()):
            caches = opened.of_plan(plan)
            ready = opened.ready(plan)
            for narrow in (False, True):
                encoded(ready, caches, 0, min(3, plan.num_steps), narrow=narrow)
            caches[0].gather(np.arange(3))
    assert [list(dispatcher.signatures) for dispatcher in dispatchers] == prepared
