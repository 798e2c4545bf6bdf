"""The processes of a demo: the real service on a Unix socket, and the trainers."""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ...mixer.errors import Reason, RecollectError

_START_SECONDS = 120.0
_STOP_SECONDS = 20.0


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "recollect.services", *arguments]


def num_cores() -> int:
    """How many cores this process may use, which in a container can be fewer than there are."""
    return len(os.sched_getaffinity(0))


def _environment(threads: int) -> dict[str, str]:
    """One BLAS pool per process, no larger than its share of the machine, and no look at a hub."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RECOLLECT_")}
    # Their output is read by this process: no colours in it, whatever the user's terminal shows.
    own.pop("FORCE_COLOR", None)
    return own | {
        "OMP_NUM_THREADS": str(threads),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _last_lines(log: Path, num_lines: int = 6) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return " | ".join(lines[-num_lines:]) or "it printed nothing"


def _own_error(log: Path) -> RecollectError | None:
    """The error that the service printed as JSON before it ended, if it did."""
    text = log.read_text(encoding="utf-8", errors="replace")
    for line in reversed(list(re.finditer(r"^\{", text, re.MULTILINE))):
        try:
            told, _ = json.JSONDecoder().raw_decode(text, line.start())
        except ValueError:
            continue
        error = told.get("error")
        if isinstance(error, dict):
            return RecollectError.from_metadata(str(error.pop("reason", "")), error)
    return None


def _not_started(log: Path) -> RecollectError:
    """Why the service did not start, in its own words where it has any."""
    return _own_error(log) or RecollectError(
        Reason.SERVER_UNAVAILABLE,
        f"the service did not start: {_last_lines(log)}",
        fix="`recollect doctor` shows what is missing.",
    )


def _ready_line(process: subprocess.Popen[bytes], log: Path) -> dict[str, str]:
    """The JSON line that the service prints when it is ready."""
    assert process.stdout is not None
    text = b""
    while True:
        readable, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
        chunk = os.read(process.stdout.fileno(), 65536) if readable else b""
        text += chunk
        if chunk:
            try:
                answer: dict[str, str] = json.loads(text)
            except ValueError:
                continue
            return answer
        raise _not_started(log)


@contextmanager
def service_process(workspace: Path, *, threads: int) -> Iterator[str]:
    """Runs the service in its own process over `workspace/data`; gives its address.

    It ends with this process, however this process ends: it watches its standard input.

    Raises:
        RecollectError: the service's own error if it does not start; SERVER_UNAVAILABLE if it
            gives none.
    """
    log = workspace / "service.log"
    arguments = ["serve", "--json", "--stop-with-stdin"]
    arguments += ["--set", f"data_folder={workspace / 'data'}"]
    with log.open("wb") as errors:
        process = subprocess.Popen(
            _command(*arguments, "--set", f"teacher.threads={threads}"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(threads),
        )
    try:
        yield _ready_line(process, log)["address"]
    finally:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


class TrainerProcess:
    """One `recollect train` in its own process."""

    def __init__(self, arguments: Sequence[str], *, log: Path, threads: int) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                _command("train", *arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(threads),
            )

    def is_running(self) -> bool:
        """Whether it still trains.

        Raises:
            RecollectError: INTERNAL with the end of its output, if it failed.
        """
        code = self._process.poll()
        if code is None:
            return True
        if code != 0:
            raise RecollectError(
                Reason.INTERNAL,
                f"a trainer failed with exit code {code}: {_last_lines(self._log)}",
                where=str(self._log),
                fix="Run the demo again with --keep DIR to look at its files.",
            )
        return False

    def stop(self) -> None:
        """Ends it, if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
