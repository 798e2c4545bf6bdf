"""The command line in a log: plain lines now and then, and no traceback of an interrupt."""

import io
import signal
import subprocess
import sys

import pytest
from rich.console import Console
from rich.progress import Progress

from recollect.services.commands import terminal
from recollect.services.commands.terminal import SECONDS_BETWEEN_LINES, Lines, progress


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def lines(clock: Clock, log: io.StringIO) -> Lines:
    console = Console(file=log, width=100)
    return Lines(console=console, transient=True, get_time=clock)


def test_a_long_task_tells_how_far_it_is_in_plain_lines(
    lines: Lines, clock: Clock, log: io.StringIO
) -> None:
    with lines as bar:
        task = bar.add_task("the teacher writes [bold]", total=2000)
        for done in range(0, 2001, 100):
            clock.now += SECONDS_BETWEEN_LINES / 5
            bar.update(task, completed=done)
    told = log.getvalue().splitlines()
    assert told[:2] == [
        "the teacher writes [bold]: 400 of 2,000",
        "the teacher writes [bold]: 900 of 2,000",
    ]
    assert len(told) == 4


def test_a_task_of_unknown_length_tells_what_it_does(
    lines: Lines, clock: Clock, log: io.StringIO
) -> None:
    with lines as bar:
        task = bar.add_task("ingest chats", total=None)
        clock.now += SECONDS_BETWEEN_LINES
        bar.update(task, description="ingest chats: 640 read")
        bar.advance(task)
    assert log.getvalue() == "ingest chats: 640 read\n"


def test_what_stands_still_is_told_once(lines: Lines, clock: Clock, log: io.StringIO) -> None:
    with lines as bar:
        task = bar.add_task("evaluating", total=40)
        for _ in range(4):
            clock.now += SECONDS_BETWEEN_LINES
            bar.update(task, completed=40)
    assert log.getvalue() == "evaluating: 40 of 40\n"


def test_what_is_quickly_done_says_nothing(lines: Lines, log: io.StringIO) -> None:
    with lines as bar:
        bar.advance(bar.add_task("seal", total=1))
    assert log.getvalue() == ""


@pytest.mark.parametrize(
    ("watched", "as_json", "kind"),
    [
        (True, False, Progress),
        (True, True, Progress),
        (False, True, Progress),
        (False, False, Lines),
    ],
)
def test_lines_are_for_logs_that_people_read(
    monkeypatch: pytest.MonkeyPatch, watched: bool, as_json: bool, kind: type[Progress]
) -> None:
    console = Console(file=io.StringIO(), force_terminal=watched)
    monkeypatch.setattr(terminal, "notes", console)
    assert type(progress(as_json=as_json)) is kind


INTERRUPTED = """
import importlib.abc, signal, sys, time
# As a terminal starts it: whoever runs the tests may have had interrupts ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "recollect.services.cli":
            print("loading", flush=True)
            time.sleep(60)
sys.meta_path.insert(0, Slow())
from recollect.services.__main__ import main
main()
"""


def test_an_interrupt_while_the_command_line_loads_leaves_no_traceback() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=50)
    assert (process.returncode, errors) == (130, "")
