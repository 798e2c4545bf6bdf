"""The totals of a token cache: in its file, found without its rows, and never trusted unchecked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from recollect.mixer.contents import RowContents, Totals
from recollect.mixer.errors import Reason, RecollectError
from recollect.services.ledger import Ledger
from recollect.services.replay import ReplayStore
from recollect.services.stream import ChatTemplate, TokenCache, TokenCaches, caches, tokens
from recollect.services.stream.totals import FIELD, encode


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several record batches, the last one short, from a few rows."""
    monkeypatch.setattr(tokens, "ROWS_PER_CHUNK", 6)


@dataclass
class Place:
    made: Any
    store: ReplayStore
    folder: Path

    def caches(self) -> TokenCaches:
        """As after a restart."""
        template = ChatTemplate.load(self.made.model)
        return TokenCaches(self.folder, store=self.store, template=template)

    def cache(self) -> TokenCache:
        return self.caches().of_plan(self.made.plan)[0]


@pytest.fixture
def place(replicas: Any, tmp_path: Path) -> Iterator[Place]:
    made = replicas.make_replica(tmp_path / "data")
    ledger = Ledger.open(made.folder)
    yield Place(made, ReplayStore.open(made.folder, ledger), tmp_path / "caches")
    ledger.close()


def rewritten(path: Path, totals: bytes | None) -> None:
    """The file with other totals in its last batch, or with none, as it was once written."""
    with pa.memory_map(str(path)) as source:
        reader = pa.ipc.open_file(source)
        schema = reader.schema
        batches = [
            reader.get_batch_with_custom_metadata(index)
            for index in range(reader.num_record_batches)
        ]
        other = path.with_suffix(".other")
        with pa.OSFile(str(other), "wb") as file, pa.ipc.new_file(file, schema) as writer:
            for batch, metadata in batches:
                kept = {tokens.CHECKSUM: metadata[tokens.CHECKSUM]}
                writer.write_batch(
                    batch, custom_metadata=kept if totals is None else {**kept, FIELD: totals}
                )
    other.replace(path)


def test_totals_are_the_sums_over_the_rows_and_need_none_of_them(place: Place) -> None:
    plan = place.made.plan
    cache = place.caches().of_sources(plan.snapshot_id, plan.sources, max_length=25)[0]
    totals = cache.totals
    assert not any(cache._chunks)
    _, masks = cache.gather(np.arange(len(cache)))
    whole = RowContents(
        tokens=cache.lengths,
        supervised_tokens=cache.supervised_lengths,
        num_truncated=int(np.count_nonzero(cache._column("num_tokens") > cache.key.max_length)),
    )
    assert totals == whole.totals
    assert totals.num_supervised_tokens == sum(int(mask.sum()) for mask in masks)
    assert 0 < totals.num_truncated < len(cache)


@pytest.mark.parametrize(
    "totals",
    [
        None,
        b"",
        b"nonsense",
        b"900 100 3 00000000",
        encode(Totals(num_tokens=900, num_supervised_tokens=100))[1:],
    ],
    ids=["earlier", "empty", "nonsense", "unproven", "cut"],
)
def test_a_cache_without_sound_totals_is_built_again(place: Place, totals: bytes | None) -> None:
    cache = place.cache()
    path = place.caches().path(cache.key)
    good = path.read_bytes()
    rewritten(path, totals)
    with pytest.raises(tokens.DamagedCache):
        TokenCache(path, cache.key)
    assert place.cache().totals == cache.totals
    assert path.read_bytes() == good


def test_a_disk_that_keeps_nothing_is_named(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    build = tokens.build

    def unkept(path: Path, key: Any, **parts: Any) -> None:
        build(path, key, **parts)
        content = bytearray(path.read_bytes())
        content[len(content) // 3] ^= 0x40
        path.write_bytes(content)

    monkeypatch.setattr(caches, "build", unkept)
    with pytest.raises(RecollectError, match="damaged again") as caught:
        place.caches().cured(place.made.plan, lambda held: [cache.lengths.sum() for cache in held])
    assert caught.value.reason is Reason.STORAGE_CORRUPT
