"""A sandbox: one folder that holds all that a service and its clients can write to.

Its data, logs, working folder, home and temporary files; and its core files, which the limit that
processes start with allows: should one be written, it lies there.
"""

from __future__ import annotations

import os
import resource
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

import pyarrow as pa
from tokenizers import Tokenizer

from recollect.services.config import SHIPPED_MODEL

from .fleet import PATIENCE_SECONDS, command_line, started, wait_for

FOLDERS = ("logs", "tmp", "home", "work")


def inside(folder: str, words: Sequence[str], name: str) -> None:
    """Runs `recollect` in this process, which knows no place but the sandbox."""
    for variable, place in (("TMPDIR", "tmp"), ("HOME", "home"), ("XDG_CACHE_HOME", "home")):
        os.environ[variable] = f"{folder}/{place}"
    tempfile.tempdir = None
    os.chdir(f"{folder}/work")
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (most, most))
    command_line(words, f"{folder}/logs/{name}.out", f"{folder}/logs/{name}.err")


class Sandbox:
    """The folder, and what runs in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.address = f"unix:{folder}/s"
        for name in FOLDERS:
            (folder / name).mkdir(parents=True, exist_ok=True)
        # A campaign that goes on does not write over the logs of before.
        self.num_started = len(list((folder / "logs").iterdir()))

    def serve(self) -> Service:
        """Starts a service; it may not serve yet."""
        settings = (f"data_folder={self.data}", f"address={self.address}")
        quick = ("teacher.threads=1", "logs.format=json", "logs.level=debug")
        overrides = [word for value in (*settings, *quick) for word in ("--set", value)]
        name, process = self.start("service", "serve", "--json", *overrides)
        return Service(process, self.folder / "logs" / name)

    def client(self, *words: str) -> BaseProcess:
        """Starts a command that asks the service."""
        return self.start("client", *words, "--server", self.address)[1]

    def run(self, *words: str) -> str:
        """What a command prints that has to succeed."""
        name, process = self.start("client", *words, "--server", self.address)
        process.join(PATIENCE_SECONDS)
        assert process.exitcode == 0, self.said(name, "err")
        return self.said(name, "out").strip()

    def start(self, role: str, *words: str) -> tuple[str, BaseProcess]:
        """Starts `recollect` with such words; the name of its logs and its process."""
        name = f"{role}-{self.num_started}"
        self.num_started += 1
        return name, started(inside, str(self.folder), words, name)

    def said(self, name: str, stream: str) -> str:
        """What a process wrote."""
        return (self.folder / "logs" / f"{name}.{stream}").read_text(encoding="utf-8")

    def core_files(self) -> list[str]:
        """Names of core files, wherever the kernel puts them by a relative name."""
        return [path.name for path in self.folder.rglob("core*") if path.is_file()]

    def spell_out_tokens(self) -> int:
        """Writes what the token caches say in letters beside them; how many rows."""
        tokenizer = Tokenizer.from_file(str(SHIPPED_MODEL / "tokenizer.json"))
        number = 0
        for path in sorted(self.data.rglob("*.tokens.arrow")):
            with path.with_suffix(".txt").open("w", encoding="utf-8") as file:
                for rows in _token_rows(path):
                    number += len(rows)
                    file.writelines(f"{text}\n" for text in tokenizer.decode_batch(rows))
        return number


def _token_rows(path: Path) -> Iterator[list[list[int]]]:
    with pa.memory_map(str(path)) as mapped, pa.ipc.open_file(mapped) as file:
        for number in range(file.num_record_batches):
            yield file.get_batch(number).column("input_ids").to_pylist()


class Service:
    """A service's process."""

    def __init__(self, process: BaseProcess, logs: Path) -> None:
        self.process = process
        self._output, self._errors = logs.with_suffix(".out"), logs.with_suffix(".err")

    def wait(self) -> float:
        """Waits until it serves; how many seconds that took."""
        began = time.monotonic()
        wait_for("serving", self._serves)
        return time.monotonic() - began

    def end(self, number: signal.Signals) -> None:
        """Ends it by a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)
        self.process.join()

    def _serves(self) -> bool:
        if self.process.exitcode is not None:
            text = self._errors.read_text(encoding="utf-8", errors="replace")
            raise AssertionError(f"the service ended by itself: {text[-2000:]}")
        return self._output.exists() and "}" in self._output.read_text(encoding="utf-8")
