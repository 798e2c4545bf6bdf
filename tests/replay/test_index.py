from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Example
from recollect.services.replay import ReplayStore
from recollect.services.replay.embedding import embed
from recollect.services.replay.index import VectorIndex, Vectors, load_index, open_index

Make = Callable[..., Example]


def unit(num_rows: int, seed: int, spread: float = 1.0) -> Vectors:
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(num_rows, 16)) * spread + generator.normal(size=16)
    normal: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return normal


def index_of(vectors: Vectors) -> VectorIndex:
    index = VectorIndex(vectors.shape[1])
    index.add(vectors)
    return index


def components(similarities: npt.NDArray[np.float64], threshold: float) -> set[tuple[int, ...]]:
    """Groups by flooding, the slow and obvious way."""
    linked = similarities >= threshold
    unseen, groups = set(range(len(linked))), set()
    while unseen:
        group, frontier = set(), [unseen.pop()]
        while frontier:
            row = frontier.pop()
            group.add(row)
            fresh = {int(other) for other in np.flatnonzero(linked[row])} & unseen
            unseen -= fresh
            frontier += fresh
        if len(group) > 1:
            groups.add(tuple(sorted(group)))
    return groups


@settings(deadline=None, max_examples=40)
@given(
    num_rows=st.integers(1, 60),
    seed=st.integers(0, 2**20),
    spread=st.sampled_from([0.1, 0.5, 2.0]),
    threshold=st.sampled_from([0.5, 0.9, 0.99]),
)
def test_groups_are_the_connected_components(
    num_rows: int, seed: int, spread: float, threshold: float
) -> None:
    vectors = unit(num_rows, seed, spread)
    similarities = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    if np.abs(similarities - threshold).min() < 1e-5:
        return
    groups = index_of(vectors).near_duplicates(threshold)
    assert {group.rows for group in groups} == components(similarities, threshold)
    for group in groups:
        inside = similarities[np.ix_(group.rows, group.rows)]
        assert group.similarity == pytest.approx(inside[inside >= threshold].min(), abs=1e-5)
    sizes = [len(group.rows) for group in groups]
    assert sizes == sorted(sizes, reverse=True)


def test_groups_reach_across_batches_of_queries() -> None:
    vectors = unit(2500, 1, 50.0)
    vectors[2400] = vectors[3]
    vectors[1100] = vectors[3]
    (group,) = index_of(vectors).near_duplicates(0.999)
    assert group.rows == (3, 1100, 2400)
    assert group.similarity == pytest.approx(1.0)


@settings(deadline=None, max_examples=20)
@given(num_rows=st.integers(0, 40), k=st.integers(1, 50), seed=st.integers(0, 1000))
def test_search_is_exact(num_rows: int, k: int, seed: int) -> None:
    vectors, queries = unit(num_rows, seed), unit(5, seed + 1)
    similarities, rows = index_of(vectors).search(queries, k)
    expected = np.sort(queries @ vectors.T, axis=1)[:, ::-1][:, :k]
    assert similarities.shape == rows.shape == (5, min(k, num_rows))
    np.testing.assert_allclose(similarities, expected, atol=1e-5)


def test_many_queries_at_once_give_what_each_gives_alone() -> None:
    vectors = unit(300, 3)
    index = index_of(vectors)
    together, _ = index.search(vectors, 3)
    alone = np.concatenate([index.search(vectors[row : row + 1], 3)[0] for row in range(300)])
    np.testing.assert_allclose(together, alone, atol=1e-5)


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.01, float("nan")])
def test_a_threshold_that_is_no_cosine_is_refused(threshold: float) -> None:
    with pytest.raises(RecollectError) as error:
        index_of(unit(3, 0)).near_duplicates(threshold)
    assert error.value.reason is Reason.CONFIG_INVALID


def test_texts_without_a_word_are_near_nothing() -> None:
    assert index_of(embed(["", " ", "\n"])).near_duplicates(0.1) == []


def test_near_copies_in_a_store_are_found_and_the_index_is_kept(
    store: ReplayStore, make: Make
) -> None:
    text = "The washing machine leaks from the door, and the seal looks torn on the left side. " * 3
    with store.writer("support") as writer:
        for number in range(30):
            writer.add(make(number, text="" if number % 10 else f"{text} {number}"))
    for _ in range(2):
        index = open_index(store, store.snapshot(), "support")
        assert len(index) == 30
        assert index.near_duplicates(0.9)[0].rows == (0, 10, 20)
    assert len(list(store.folder.glob("cache/index/*.faiss"))) == 1
    shutil.rmtree(store.folder / "cache")
    assert len(open_index(store, store.snapshot(), "support")) == 30
    # What a process leaves that is killed while it writes.
    (store.folder / "cache" / "index" / ".support-0.faiss.x1.tmp").write_bytes(b"half")
    with store.writer("support") as writer:
        writer.add(make(31))
    assert len(open_index(store, store.snapshot(), "support")) == 31
    assert len(list((store.folder / "cache" / "index").iterdir())) == 2


def test_an_empty_and_an_unknown_source(store: ReplayStore) -> None:
    assert open_index(store, store.snapshot(), "support").near_duplicates() == []
    with pytest.raises(RecollectError) as error:
        open_index(store, store.snapshot(), "nobody")
    assert error.value.reason is Reason.SOURCE_UNKNOWN


@pytest.mark.parametrize("victim", [".faiss", ".json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "gone"])
def test_a_damaged_cache_is_never_parsed_but_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, victim: str, damage: str
) -> None:
    vectors = unit(10, 4)
    path = tmp_path / "cache" / "a.faiss"
    load_index(path, lambda: index_of(vectors))
    target = path.with_suffix(victim)
    content = target.read_bytes()
    middle = len(content) // 2
    match damage:
        case "flip":
            flipped = bytes([content[middle] ^ 1])
            target.write_bytes(content[:middle] + flipped + content[middle + 1 :])
        case "cut":
            target.write_bytes(content[:middle])
        case "empty":
            target.write_bytes(b"")
        case _:
            target.unlink()
    builds = []
    with monkeypatch.context() as watched:
        watched.setattr(VectorIndex, "from_bytes", pytest.fail)
        index = load_index(path, lambda: builds.append(1) or index_of(vectors))  # type: ignore[func-returns-value]
    assert builds == [1]
    assert len(index) == 10
    again = load_index(path, lambda: pytest.fail("the cache was not believed"))
    np.testing.assert_array_equal(again.search(vectors, 3)[1], index.search(vectors, 3)[1])
