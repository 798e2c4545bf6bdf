"""A real service in its own process on loopback, shared by the tests that only add to it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recollect.services.client import ServiceClient, connect
from recollect.services.demo.processes import service_process

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with service_process(tmp_path_factory.mktemp("service"), threads=1) as bound:
        yield bound


@pytest.fixture
def client(address: str) -> Iterator[ServiceClient]:
    with connect(address) as connected:
        yield connected


def run_command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line as a user would."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RECOLLECT_")}
    return subprocess.run(
        [sys.executable, "-m", "recollect.services", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env=own | {"COLUMNS": "160"} | environment,
    )


@pytest.fixture
def recollect(address: str) -> Run:
    """The command line, pointed at the shared service."""

    def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return run_command(*arguments, RECOLLECT_SERVER=address, **environment)

    return run


def _chat(n: int) -> list[dict[str, str]]:
    asked = f"Order {n}: my parcel number {n} is late, write to customer{n}@mail.example.com"
    answer = f"I am sorry, parcel {n} will arrive on day {n}."
    return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    """A small file of support chats with invented identifiers."""
    path = tmp_path / "chats.jsonl"
    path.write_text(
        "\n".join(json.dumps({"messages": _chat(n)}) for n in range(12)),
        encoding="utf-8",
    )
    return path
