"""A real service in its own process on loopback, shared by the tests that only add to it; and a
house of its own, in this process, for the tests that watch what happens inside."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Self

import pytest

from recollect.services.client import ServiceClient, connect
from recollect.services.demo.processes import service_process
from recollect.services.privacy import Policy

from .house import TOO_LONG, House, Unhurried

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with service_process(tmp_path_factory.mktemp("service"), threads=1) as bound:
        yield bound


@pytest.fixture
def client(address: str) -> Iterator[ServiceClient]:
    with connect(address) as connected:
        yield connected


def own_environment() -> dict[str, str]:
    """The environment without settings of the user's."""
    return {name: value for name, value in os.environ.items() if not name.startswith("RECOLLECT_")}


def run_command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command line as a user would."""
    return subprocess.run(
        [sys.executable, "-m", "recollect.services", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env=own_environment() | {"COLUMNS": "160"} | environment,
    )


class Service:
    """`recollect serve` in a process that may be limited and killed."""

    _START = """
import resource, sys
if int(sys.argv[1]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
del sys.argv[1]
from recollect.services.cli import main
main()
"""

    def __init__(
        self,
        data: Path,
        *,
        address: str | None = None,
        max_file_bytes: int = 0,
        more: Sequence[str] = (),
    ) -> None:
        """Returns once it serves.

        Args:
            data: its data folder.
            address: where it listens; a Unix socket in the data folder if left out.
            max_file_bytes: the longest file that the kernel lets it write, if not 0: a full disk
                that needs no root.
            more: overrides of its configuration, as in `store.near_duplicate_threshold=0.8`.
        """
        where = () if address is None else (f"address={address}",)
        overrides = (f"data_folder={data}", *where, "teacher.threads=1", *more)
        options = [word for override in overrides for word in ("--set", override)]
        command = [sys.executable, "-c", self._START, str(max_file_bytes), "serve", "--json"]
        self._process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, env=own_environment()
        )
        text = b""
        assert self._process.stdout is not None
        while not text.rstrip().endswith(b"}"):
            read = os.read(self._process.stdout.fileno(), 4096)
            if not read:
                self.kill()
                pytest.fail("the service did not start")
            text += read
        self.address: str = json.loads(text)["address"]

    def kill(self) -> None:
        """Ends it as a power failure would."""
        self._process.kill()
        self._process.communicate(timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.communicate(timeout=60)


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


@pytest.fixture(scope="session")
def warm() -> Unhurried:
    deidentifier = Unhurried(Policy(max_characters=TOO_LONG), b"k" * 32)
    deidentifier.prove()
    return deidentifier


@pytest.fixture
def house(tmp_path: Path, warm: Unhurried) -> Iterator[House]:
    warm.nap = 0.0
    house = House(tmp_path / "data", warm)
    yield house
    house.ledger.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the three sources of `mixing`, and a policy beside it."""
    from .mixing import make_place

    return make_place(tmp_path_factory.mktemp("mixing"))


@pytest.fixture(scope="module")
def service(place: Path) -> Iterator[tuple[Run, str]]:
    """A service over that folder: its command line, and its address."""
    from .mixing import served

    serving = served(place)
    with serving as run:
        yield run, serving.address


@pytest.fixture(scope="module")
def run(service: tuple[Run, str]) -> Run:
    """The command line of that service."""
    return service[0]
