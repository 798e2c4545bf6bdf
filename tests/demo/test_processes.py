"""The processes of a demo: their own errors come through, and no more of them than cores."""

import os
from pathlib import Path

import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.demo.processes import num_cores, service_process
from recollect.services.ledger.lock import FolderLock


def test_a_service_that_does_not_start_says_why_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    ledger = tmp_path / "data" / "ledger"
    ledger.mkdir(parents=True)
    lock = FolderLock(ledger / "ledger.lock")
    try:
        with pytest.raises(RecollectError) as caught, service_process(tmp_path, threads=1):
            pass
    finally:
        lock.release()
    assert caught.value.reason is Reason.STORAGE_LOCKED
    assert str(os.getpid()) in caught.value.message
    assert caught.value.where and caught.value.fix


def test_cores_that_this_process_may_not_use_are_not_counted() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert num_cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)
