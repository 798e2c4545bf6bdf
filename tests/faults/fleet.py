"""Servers over one data folder, of which one serves and the next stands by, and how to kill them.

Every server is a process that runs `recollect serve`. It is forked from one that has imported what
it needs, since some hundreds of them are killed.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PATIENCE_SECONDS = 120.0
POLL_SECONDS = 0.002
forks = multiprocessing.get_context("forkserver")
forks.set_forkserver_preload(
    ["recollect.services.cli", "recollect.services.server", "recollect.trainer.loader"]
)


def wait_for(what: str, found: Callable[[], Any]) -> Any:
    """What a function gives as soon as it is true."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (value := found()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen in {PATIENCE_SECONDS:.0f} s")
        time.sleep(POLL_SECONDS)
    return value


def own_environment() -> None:
    """Leaves this process no settings of the user's, and no thread that it has no use for."""
    for name in [name for name in os.environ if name.startswith("RECOLLECT_")]:
        del os.environ[name]
    os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")


def command_line(arguments: Sequence[str], output: str, errors: str) -> None:
    """Runs `recollect` in this process."""
    own_environment()
    for descriptor, path in ((1, output), (2, errors)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(file, descriptor)
    from recollect.services.cli import main

    sys.argv = ["recollect", *arguments]
    main()


def started(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    """A process of its own that runs a function; ends with this one."""
    process = forks.Process(target=target, args=arguments, daemon=True)
    process.start()
    return process


class Server:
    """`recollect serve --standby` as a process."""

    def __init__(self, data: Path, address: str, logs: Path, settings: Sequence[str] = ()) -> None:
        """Starts it; `stands_by` and `serves` say how far it is.

        Args:
            data: its data folder.
            address: where it is to listen.
            logs: what its files of output begin with.
            settings: more of its configuration, as in `tls.client_ca=FILE`.
        """
        self.address = address
        self._output, self._errors = logs.with_suffix(".out"), logs.with_suffix(".err")
        values = (f"data_folder={data}", f"address={address}", "teacher.threads=1", *settings)
        overrides = [word for value in values for word in ("--set", value)]
        words = ["serve", "--standby", "--json", *overrides]
        self.process = started(command_line, words, str(self._output), str(self._errors))

    @property
    def stands_by(self) -> bool:
        """Whether it is loaded."""
        return self._said(self._errors, "standing by")

    @property
    def serves(self) -> bool:
        """Whether it answers."""
        return self._said(self._output, "}")

    def kill(self) -> float:
        """Ends it as a power failure would; the time at which it was dead."""
        self.process.kill()
        self.process.join()
        return time.monotonic()

    def _said(self, file: Path, word: str) -> bool:
        if self.process.exitcode is not None:
            text = self._errors.read_text(encoding="utf-8", errors="replace")
            raise AssertionError(f"the service ended by itself: {text[-2000:]}")
        return file.exists() and word in file.read_text(encoding="utf-8")


class Fleet:
    """One server that serves and one that stands by, at two addresses."""

    def __init__(
        self, data: Path, addresses: Sequence[str], logs: Path, settings: Sequence[str] = ()
    ) -> None:
        """Returns once both are ready."""
        self._data, self._addresses, self._logs = data, addresses, logs
        self._settings = settings
        self._num_started = 0
        logs.mkdir(parents=True, exist_ok=True)
        self.active = self._start()
        wait_for("serving", lambda: self.active.serves)
        self.next = self._start()
        self.wait()

    def wait(self) -> None:
        """Waits until one stands by."""
        wait_for("standing by", lambda: self.next.stands_by)

    def kill(self) -> float:
        """Kills the one that serves, and starts another behind the one that takes over."""
        died_at = self.active.kill()
        self.active, self.next = self.next, self._start()
        return died_at

    def close(self) -> None:
        """Kills all."""
        self.next.kill()
        self.active.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> Server:
        number = self._num_started
        self._num_started += 1
        address = self._addresses[number % len(self._addresses)]
        return Server(self._data, address, self._logs / f"server-{number}", self._settings)


def make_place(
    folder: Path, num_steps: int = 1_000_000, *, batch_size: int = 8, max_length: int = 48
) -> str:
    """A data folder `data` with two sources and a sealed plan, made by the command line; its id.

    Rows longer than the default are full.
    """
    num_times = 1 if max_length == 48 else max_length
    folder.mkdir(parents=True, exist_ok=True)
    address = f"unix:{folder}/s"
    for name in ("task", "general"):
        rows = folder / f"{name}.jsonl"
        with rows.open("w", encoding="utf-8") as file:
            for n in range(60):
                asked, answered = (
                    f"{name} {n}: where is it? " * (1 + n % 3),
                    f"On shelf {n}. " * num_times,
                )
                spoken = (("user", asked), ("assistant", answered))
                messages = [{"role": role, "content": text} for role, text in spoken]
                file.write(json.dumps({"messages": messages}) + "\n")
    mix = folder / "mix.yaml"
    mix.write_text(
        f"name: faults\nbatch_size: {batch_size}\nnum_steps: {num_steps}\n"
        f"max_length: {max_length}\nsources:\n"
        "  - {source: task, role: task, share: 3/4}\n"
        "  - {source: general, role: general, share: 1/4}\n",
        encoding="utf-8",
    )
    server = Server(folder / "data", address, folder / "first")
    wait_for("serving", lambda: server.serves)
    told = ""
    for words in (
        *(
            ("ingest", str(folder / f"{name}.jsonl"), "--source", name, "--role", name)
            for name in ("task", "general")
        ),
        ("mix", "seal", str(mix)),
    ):
        output = folder / "command.out"
        errors = folder / "command.err"
        done = started(command_line, (*words, "--server", address), str(output), str(errors))
        done.join(PATIENCE_SECONDS)
        assert done.exitcode == 0, errors.read_text(encoding="utf-8")
        told = output.read_text(encoding="utf-8")
    server.process.terminate()
    server.process.join()
    return told.strip()
