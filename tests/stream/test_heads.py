"""The head of the ledger, as acknowledgements tell it while others write."""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from recollect.services.ledger import Ledger
from recollect.services.stream.runs import RunBook


class Slow(array):  # type: ignore[type-arg]  # not generic at run time
    """Where the entries of a ledger begin, which takes its time to grow."""

    def append(self, offset: int) -> None:
        super().append(offset)
        time.sleep(0.002)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path) as opened:
        yield opened


def test_length_and_head_belong_together_whoever_writes_meanwhile(
    ledger: Ledger,
) -> None:
    # Between growing by an entry and taking its digest as the head.
    ledger._tail.offsets = Slow("q", ledger._tail.offsets)
    book = RunBook(ledger)
    told: list[tuple[str, int, tuple[int, bytes]]] = []
    seen: set[tuple[int, bytes]] = set()
    ended = Event()

    def acknowledge(rank: int) -> None:
        run_id = f"run-{rank}"
        book.start(run_id, {"plan_id": "p"})
        for step in range(30):
            for _ in range(2):  # The second finds the first.
                book.acknowledge(run_id, step=step, rank=0, world_size=1, body={})
                told.append((run_id, step, book.ledger_head))

    def look() -> None:
        while not ended.is_set():
            seen.add(book.ledger_head)

    with ThreadPoolExecutor(4) as pool:
        looking = pool.submit(look)
        list(pool.map(acknowledge, range(3)))
        ended.set()
        looking.result()
    digests = [bytes.fromhex(entry.digest) for entry in ledger.entries()]
    place = {
        (entry.body["run_id"], entry.body["step"]): entry.sequence
        for entry in ledger.entries()
        if "step" in entry.body
    }
    assert len(told) == 180 and len(seen) > 10
    for length, head in seen - {(0, b"")}:
        assert head == digests[length - 1]
    for run_id, step, (length, head) in told:
        assert head == digests[length - 1]
        assert place[run_id, step] < length


def test_a_book_that_is_opened_again_knows_the_head(tmp_path: Path, ledger: Ledger) -> None:
    assert RunBook(ledger).ledger_head == (0, b"")
    book = RunBook(ledger)
    book.start("run", {"plan_id": "p"})
    book.acknowledge("run", step=0, rank=0, world_size=1, body={})
    again = RunBook(ledger)
    assert again.ledger_head == book.ledger_head == (2, bytes.fromhex(ledger.head))
    # What is known already is written by nobody, and the head stays.
    again.acknowledge("run", step=0, rank=0, world_size=1, body={})
    assert again.ledger_head == (2, bytes.fromhex(ledger.head))
