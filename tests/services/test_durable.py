"""Durable writing: a file is there whole, or it is what it was before."""

import stat
from pathlib import Path

import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.durable import atomic_file, write_durably


def test_a_file_takes_its_place_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "cache"
    with atomic_file(path) as file:
        file.write(b"first")
        assert not path.exists()
    assert path.read_bytes() == b"first"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with atomic_file(path) as file:
        file.write(b"second")
        file.flush()
        assert path.read_bytes() == b"first"
    assert path.read_bytes() == b"second"
    assert list(path.parent.iterdir()) == [path]


def test_a_writing_that_fails_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    path.write_bytes(b"before")
    with pytest.raises(ValueError, match="no more"), atomic_file(path) as file:
        file.write(b"half")
        raise ValueError("no more")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_the_disk_refuses_is_named_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "file" / "cache"
    path.parent.write_bytes(b"no folder")
    with pytest.raises(RecollectError) as caught, atomic_file(path):
        pass
    assert caught.value.reason is Reason.STORAGE_FAILED
    assert caught.value.where == str(path)


def test_what_must_be_new_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    write_durably(path, b"first")
    with pytest.raises(FileExistsError):
        write_durably(path, b"second")
    assert path.read_bytes() == b"first"
