from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Example, Message, Pointer, Speaker
from recollect.services.ledger import Ledger
from recollect.services.replay import ReplayStore, Source

Make = Callable[..., Example]

pytestmark = pytest.mark.faults

INGESTING = """
import itertools, pathlib, sys
from recollect.mixer.example import Example, Message, Pointer, Speaker
from recollect.services.ledger import Ledger
from recollect.services.replay import ReplayStore
folder = pathlib.Path(sys.argv[1])
store = ReplayStore.open(folder, Ledger.open(folder))
start = store.snapshot().sources["support"].num_examples
print("open", flush=True)
for ingest in itertools.count(start // 40):
    with store.writer("support", max_rows=2) as writer:
        for row in range(ingest * 40, ingest * 40 + 40):
            messages = (Message(speaker=Speaker.USER, content=f"row {row}"),)
            writer.add(Example(
                example_id=store.example_id_for("support", messages), source="support",
                messages=messages, pointer=Pointer(file="a.jsonl", row=row + 1), subject=None,
                policy="1", findings=(),
            ))
    print(ingest + 1, flush=True)
"""


def test_a_killed_ingest_is_there_whole_or_not_at_all(tmp_path: Path, source: Source) -> None:
    with Ledger.open(tmp_path) as ledger:
        ReplayStore.open(tmp_path, ledger).register(source)
    chance = random.Random(5)
    num_removed = 0
    for _ in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", INGESTING, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        while not any(tmp_path.glob("segments/*/*.pending")):
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 0.1))
        os.kill(child.pid, signal.SIGKILL)
        acknowledged = [int(line) for line in child.stdout.read().splitlines()]
        child.stdout.close()
        child.wait()
        with Ledger.open(tmp_path) as ledger:
            store = ReplayStore.open(tmp_path, ledger)
            num_removed += store.num_files_removed
            rows = [example.pointer.row for example in store.examples(store.snapshot(), "support")]
            assert rows == list(range(1, len(rows) + 1))
            assert len(rows) % 40 == 0
            assert len(rows) // 40 >= max(acknowledged, default=0)
            files = {path.name for path in tmp_path.glob("segments/*/*")}
            assert files == {Path(segment.path).name for segment in store.snapshot().segments}
            assert store.verify() == len(files)
    assert num_removed > 0


def test_a_second_process_is_refused_while_the_first_serves(tmp_path: Path, source: Source) -> None:
    with Ledger.open(tmp_path) as ledger:
        ReplayStore.open(tmp_path, ledger).register(source)
        done = subprocess.run(
            [sys.executable, "-c", INGESTING, str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode != 0
    assert f"process {os.getpid()} is using this data folder" in done.stderr


def test_every_flipped_byte_of_a_segment_is_found(store: ReplayStore, make: Make) -> None:
    with store.writer("support") as writer:
        for number in range(8):
            writer.add(make(number))
    (manifest,) = store.snapshot().segments
    path = store.folder / manifest.path
    sound = path.read_bytes()
    for place in range(0, len(sound), 7):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 0x10]) + sound[place + 1 :])
        with pytest.raises(RecollectError, match=manifest.segment_id) as error:
            list(store.examples(store.snapshot(), "support"))
        assert error.value.reason is Reason.STORAGE_CORRUPT
    path.write_bytes(sound)
    assert store.verify() == 1


@pytest.mark.parametrize("damage", ["missing", "shorter", "longer", "swapped"])
def test_a_segment_that_is_not_as_committed_is_refused(
    store: ReplayStore, make: Make, damage: str
) -> None:
    for number in range(2):
        with store.writer("support") as writer:
            writer.add(make(number))
    first, second = store.snapshot().segments
    path = store.folder / first.path
    sound = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "swapped":
        path.write_bytes((store.folder / second.path).read_bytes())
    else:
        path.write_bytes(sound[:-1] if damage == "shorter" else sound + b"\0")
    with pytest.raises(RecollectError, match=first.segment_id) as error:
        store.verify()
    assert error.value.reason is Reason.STORAGE_CORRUPT


def test_pages_carry_checksums_that_any_reader_can_verify(store: ReplayStore, make: Make) -> None:
    with store.writer("support") as writer:
        for number in range(300):
            writer.add(make(number))
    path = store.folder / store.snapshot().segments[0].path
    content = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(0).column(1)
    assert column.path_in_schema == "messages"
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 1
    reader = pq.ParquetFile(pa.BufferReader(bytes(content)), page_checksum_verification=True)
    with pytest.raises(OSError, match="CRC"):
        reader.read()


def fill_until_full(store: ReplayStore, first: int) -> None:
    noise = random.Random(first)
    with store.writer("support", max_rows=20) as writer:
        for row in range(first, first + 5000):
            messages = (
                Message(speaker=Speaker.USER, content=f"{row} {noise.randbytes(200).hex()}"),
            )
            writer.add(
                Example(
                    example_id=store.example_id_for("support", messages),
                    source="support",
                    messages=messages,
                    pointer=Pointer(file="a.jsonl", row=row + 1),
                    subject=None,
                    policy="1",
                    findings=(),
                )
            )


def test_a_full_disk_stores_nothing_of_the_ingest_and_leaves_nothing_behind(
    small_disk: Path, source: Source
) -> None:
    with Ledger.open(small_disk) as ledger:
        store = ReplayStore.open(small_disk, ledger)
        store.register(source)
        before = ledger.num_entries
        for first in (0, 5000):
            with pytest.raises(RecollectError) as error:
                fill_until_full(store, first)
            assert error.value.reason is Reason.STORAGE_FULL
            assert list(small_disk.glob("segments/*/*")) == []
            assert store.snapshot().sources["support"].num_examples == 0
        assert ledger.num_entries == before == ledger.verify()
        messages = (Message(speaker=Speaker.USER, content="small"),)
        example = Example(
            example_id=store.example_id_for("support", messages),
            source="support",
            messages=messages,
            pointer=Pointer(file="a.jsonl", row=1),
            subject=None,
            policy="1",
            findings=(),
        )
        with store.writer("support") as writer:
            assert writer.add(example)
        assert list(store.examples(store.snapshot(), "support")) == [example]


def test_a_disk_too_full_for_the_commit_takes_the_files_back(
    small_disk: Path, source: Source, make: Make
) -> None:
    with Ledger.open(small_disk) as ledger:
        store = ReplayStore.open(small_disk, ledger)
        store.register(source)
        writer = store.writer("support", max_rows=2)
        for number in range(20):
            writer.add(make(number))
        with (small_disk / "ballast").open("wb", buffering=0) as ballast, pytest.raises(OSError):
            while True:
                ballast.write(b"x" * 4096)
        with pytest.raises(RecollectError) as error:
            writer.commit()
        assert error.value.reason is Reason.STORAGE_FULL
        assert list(small_disk.glob("segments/*/*")) == []
        (small_disk / "ballast").unlink()
        assert writer.add(make(0))
        assert len(writer.commit()) == 1
        writer.close()
        assert list(store.examples(store.snapshot(), "support")) == [make(0)]
