"""Offline verification refuses what the service would refuse."""

from pathlib import Path

import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.mixer.example import Example, Message, Pointer, Purpose, Role, Speaker
from recollect.services.ledger import Ledger
from recollect.services.replay import ReplayStore, Source
from recollect.services.secret import secret_key
from recollect.services.verification import verify_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder with one ingest of three examples."""
    ledger = Ledger.open(tmp_path / "ledger")
    store = ReplayStore.open(tmp_path, ledger)
    store.register(
        Source(name="s", role=Role.TASK, purpose=Purpose.TRAIN, licence="MIT", legal_basis="public")
    )
    with store.writer("s") as writer:
        for n in range(3):
            messages = (Message(speaker=Speaker.TEXT, content=f"text {n}"),)
            writer.add(
                Example(
                    example_id=store.example_id_for("s", messages),
                    source="s",
                    messages=messages,
                    pointer=Pointer(file="f", row=n + 1),
                    subject=None,
                    policy="1",
                    findings=(),
                )
            )
    ledger.close()
    secret_key(tmp_path / "keys" / "surrogate.key", create=True)
    return tmp_path


def _refused(folder: Path) -> Reason:
    with pytest.raises(RecollectError) as caught:
        verify_folder(folder)
    return caught.value.reason


def test_a_sound_folder_passes(folder: Path) -> None:
    result = verify_folder(folder)
    assert (result.num_segments, len(result.head)) == (1, 64)


def test_a_ledger_that_lost_its_end_is_noticed(folder: Path) -> None:
    path = folder / "ledger" / "ledger.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:1]))
    assert _refused(folder) is Reason.LEDGER_CORRUPT


def test_an_edited_ledger_is_noticed(folder: Path) -> None:
    path = folder / "ledger" / "ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b"public", b"secret", 1))
    assert _refused(folder) is Reason.LEDGER_CORRUPT


@pytest.mark.parametrize("name", ["store.key", "surrogate.key"])
def test_a_lost_key_is_noticed(folder: Path, name: str) -> None:
    (folder / "keys" / name).unlink()
    assert _refused(folder) is Reason.STORAGE_CORRUPT


def test_a_flipped_byte_is_noticed(folder: Path) -> None:
    (path,) = (folder / "segments").rglob("*.parquet")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)
    assert _refused(folder) is Reason.STORAGE_CORRUPT
