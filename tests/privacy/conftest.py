from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

import pytest

from recollect.mixer.example import Message, Speaker
from recollect.services.privacy import Deidentifier, Policy

KEY = bytes(range(32))


def chat(*contents: str) -> list[Message]:
    speakers = (Speaker.USER, Speaker.ASSISTANT)
    return [Message(speaker=speakers[i % 2], content=text) for i, text in enumerate(contents)]


class Refused(Exception):
    """A socket was asked for."""


@pytest.fixture(scope="module", autouse=True)
def no_sockets() -> Iterator[None]:
    """Every test of this room runs without a network; those of others in this process have one."""
    patch = pytest.MonkeyPatch()

    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise Refused

    patch.setattr(socket, "getaddrinfo", refuse)
    patch.setattr(socket.socket, "connect", refuse)
    yield
    patch.undo()


@pytest.fixture(scope="session")
def deidentifier() -> Deidentifier:
    return Deidentifier(Policy(), KEY)


@pytest.fixture(scope="session")
def invented() -> list[dict[str, Any]]:
    """The shipped rows of invented personal data with labelled spans."""
    path = files("recollect.services.demo") / "data" / "authored" / "pii.jsonl"
    if not path.is_file():
        return _ROWS
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="session")
def external_data() -> Path:
    """A folder of public data sets that are not shipped; named by RECOLLECT_DATA."""
    import os

    folder = os.environ.get("RECOLLECT_DATA")
    if not folder:
        pytest.skip("RECOLLECT_DATA does not name a folder of the public data sets")
    return Path(folder)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small token classifier, trained here."""
    from .tiny_classifier import train

    return train(tmp_path_factory.mktemp("tiny") / "model")


_TEXT = "My name is Rajesh Kumar, mail rajesh@shop.example.com or call +1 202-555-0143."
_ROWS = [
    {
        "id": "one",
        "text": _TEXT,
        "spans": [
            {"entity_type": "PERSON", "start": 11, "end": 23},
            {"entity_type": "EMAIL_ADDRESS", "start": 30, "end": 53},
            {"entity_type": "PHONE_NUMBER", "start": 62, "end": 77},
        ],
    }
]
