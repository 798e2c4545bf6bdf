from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recollect.mixer.example import (
    Example,
    Lineage,
    Message,
    Pointer,
    Purpose,
    Role,
    Speaker,
)
from recollect.services.ledger import Ledger
from recollect.services.replay import ReplayStore, Source

SUPPORT = Source(
    name="support",
    role=Role.TASK,
    purpose=Purpose.TRAIN,
    licence="CC-BY-4.0",
    legal_basis="contract",
)
Make = Callable[..., Example]


@pytest.fixture
def source() -> Source:
    return SUPPORT


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger.open(tmp_path / "data") as ledger:
        yield ledger


@pytest.fixture
def store(tmp_path: Path, ledger: Ledger) -> ReplayStore:
    store = ReplayStore.open(tmp_path / "data", ledger)
    store.register(SUPPORT)
    return store


@pytest.fixture
def make(store: ReplayStore) -> Make:
    """Makes the n-th example of a source; every seventh is synthetic, every third has a subject."""

    def make(number: int, *, source: str = "support", text: str = "") -> Example:
        messages = (
            Message(speaker=Speaker.USER, content=text or f"Where is parcel {number}? ü 你好"),
            Message(speaker=Speaker.ASSISTANT, content=f"Parcel {number} is on its way."),
        )
        return Example(
            example_id=store.example_id_for(source, messages),
            source=source,
            messages=messages,
            pointer=Pointer(file="dialogues.jsonl", row=number + 1),
            subject=f"subject-{number % 5}" if number % 3 == 0 else None,
            policy="policy-1",
            findings=(("EMAIL_ADDRESS", 1 + number % 2), ("PERSON", 2)) if number % 2 else (),
            lineage=Lineage(teacher_digest="ab" * 32, prompt_id="p", seed=number)
            if number % 7 == 0
            else None,
        )

    return make


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip("only a privileged user can mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
