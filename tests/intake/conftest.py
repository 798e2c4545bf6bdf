from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recollect.services.intake import read_examples


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str, bytes | str], Path]:
    def write(name: str, content: bytes | str) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def contents() -> Callable[..., list[list[tuple[str, str]]]]:
    def read(location: Path | str, *args: object, **kwargs: object) -> list[list[tuple[str, str]]]:
        examples = read_examples(location, *args, **kwargs)  # type: ignore[arg-type]
        return [[(m.speaker.value, m.content) for m in example.messages] for example in examples]

    return read
