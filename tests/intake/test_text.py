from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recollect.mixer.example import Speaker
from recollect.services.intake import read_examples

Written = Callable[[str, bytes | str], Path]


def test_each_run_of_lines_between_blank_lines_is_an_example(written: Written) -> None:
    path = written("a.txt", "\n\nOne\r\n two\n\n \t\nThree\n")
    first, second = read_examples(path)
    assert first.messages[0].content == "One\n two"
    assert first.messages[0].speaker == Speaker.TEXT
    assert second.messages[0].content == "Three"
    assert (first.pointer.row, second.pointer.row) == (3, 7)
