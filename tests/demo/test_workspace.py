"""Where a demo works: nothing remains, a killed one is tidied up, nobody's folder is touched."""

import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.demo import workspace as room
from recollect.services.demo.workspace import remove_abandoned, workspace
from recollect.services.ledger.lock import FolderLock


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def _dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_temporary_workspace_leaves_nothing(temporary: Path) -> None:
    with workspace(None) as folder:
        (folder / "data").mkdir()
        assert folder.parent == temporary
    assert list(temporary.iterdir()) == []


def test_an_error_leaves_nothing_either(temporary: Path) -> None:
    with pytest.raises(ZeroDivisionError), workspace(None):
        raise ZeroDivisionError
    assert list(temporary.iterdir()) == []


def test_what_a_killed_demo_left_is_removed_by_the_next(temporary: Path) -> None:
    dead = temporary / f"recollect-demo-{_dead_process()}-x"
    alive = temporary / f"recollect-demo-{os.getpid()}-x"
    other = temporary / "recollect-demonstration"
    for folder in (dead, alive, other):
        (folder / "data").mkdir(parents=True)
    assert remove_abandoned(temporary) == [dead]
    assert {path.name for path in temporary.iterdir()} == {alive.name, other.name}


def test_a_link_is_not_followed(temporary: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    (precious / "data").mkdir(parents=True)
    (temporary / f"recollect-demo-{_dead_process()}-x").symlink_to(precious)
    remove_abandoned(temporary)
    assert (precious / "data").exists()


def test_a_kept_folder_is_begun_again_and_a_foreign_one_refused(
    temporary: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    with workspace(kept) as folder:
        (folder / "half").touch()
    with workspace(kept) as folder:
        assert not (folder / "half").exists()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").touch()
    with pytest.raises(RecollectError) as caught, workspace(foreign):
        pass
    assert caught.value.reason is Reason.CONFIG_INVALID
    assert (foreign / "thesis.tex").exists()


HOLD = """
import sys, time
from pathlib import Path
from recollect.services.demo.workspace import workspace
with workspace(Path(sys.argv[1]) if sys.argv[1:] else None) as folder:
    (folder / "data").mkdir()
    print(folder, flush=True)
    time.sleep(60)
"""


def _hold(temporary: Path, *arguments: str) -> subprocess.Popen[str]:
    """A process that is in its workspace and stays there."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(temporary)},
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def test_sigterm_ends_it_tidied_up_and_without_a_traceback(temporary: Path) -> None:
    process = _hold(temporary)
    assert list(temporary.iterdir())
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (143, "")
    assert list(temporary.iterdir()) == []


def test_sigterm_means_afterwards_what_it_meant_before(temporary: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with workspace(None):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_kept_folder_is_refused_while_its_demo_lives_and_free_once_it_is_killed(
    temporary: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    process = _hold(temporary, str(kept))
    try:
        with pytest.raises(RecollectError) as caught, workspace(kept):
            pass
        assert caught.value.reason is Reason.STORAGE_LOCKED
        assert str(process.pid) in caught.value.message
        assert (kept / "data").exists()
    finally:
        process.kill()
        process.communicate()
    with workspace(kept) as folder:
        assert not (folder / "data").exists()


def test_an_interrupted_removal_leaves_a_folder_that_can_be_begun_again(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    with workspace(kept) as folder:
        for number in range(5):
            (folder / f"{number}").mkdir()
    interrupted_at = set[int]()
    real = {name: getattr(os, name) for name in ("rmdir", "unlink")}

    def remove(name: str, path: str, **options: int) -> None:
        real[name](path, **options)
        interrupted_at.add(len(list(kept.iterdir())))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        for name in real:
            patch.setattr(os, name, partial(remove, name))
        for _ in range(5):
            with pytest.raises(KeyboardInterrupt), workspace(kept):
                pass
    assert interrupted_at == {5, 4, 3, 2, 1}
    with workspace(kept) as folder:
        assert [path for path in folder.iterdir() if path.is_dir()] == []


def _served(kept: Path) -> FolderLock:
    """A kept folder whose ledger somebody still writes."""
    with workspace(kept) as folder:
        (folder / "data" / "ledger").mkdir(parents=True)
    return FolderLock(kept / "data" / "ledger" / "ledger.lock")


def test_the_service_of_a_killed_demo_is_waited_for(temporary: Path, tmp_path: Path) -> None:
    lock = _served(tmp_path / "kept")
    timer = threading.Timer(0.5, lock.release)
    timer.start()
    with workspace(tmp_path / "kept") as folder:
        assert timer.finished.is_set()
        assert not (folder / "data").exists()
    timer.join()


def test_a_service_that_does_not_end_is_named_and_its_data_stay(
    temporary: Path, tmp_path: Path
) -> None:
    lock = _served(tmp_path / "kept")
    try:
        with pytest.raises(RecollectError) as caught, workspace(tmp_path / "kept", patience_s=0.3):
            pass
        assert caught.value.reason is Reason.STORAGE_LOCKED
        assert str(os.getpid()) in caught.value.message
        assert (tmp_path / "kept" / "data" / "ledger").is_dir()
    finally:
        lock.release()


def test_files_that_appear_during_the_removal_are_removed_too(
    temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    with workspace(kept) as folder:
        (folder / "data").mkdir()
    real = os.rmdir
    late = iter([kept / "data" / "segment"])

    def rmdir(path: str, **options: int) -> None:
        for file in late:
            file.touch()
        real(path, **options)

    monkeypatch.setattr(os, "rmdir", rmdir)
    with workspace(kept) as folder:
        assert not (folder / "data").exists()
    assert next(late, None) is None


def test_a_folder_that_cannot_be_used_is_refused_in_words(temporary: Path, tmp_path: Path) -> None:
    file = tmp_path / "thesis.tex"
    file.write_text("precious")
    for unusable in (file, file / "below", tmp_path / ("x" * 300)):
        with pytest.raises(RecollectError) as caught, workspace(unusable):
            pass
        assert caught.value.reason is Reason.CONFIG_INVALID
        assert caught.value.where == str(unusable)
    assert file.read_text() == "precious"


def test_a_folder_that_another_demo_removes_first_is_passed_over(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = temporary / f"recollect-demo-{_dead_process()}-x"
    gone.mkdir()

    def is_alive(_: int) -> bool:
        gone.rmdir()
        return False

    monkeypatch.setattr(room, "_is_alive", is_alive)
    assert remove_abandoned(temporary) == []
