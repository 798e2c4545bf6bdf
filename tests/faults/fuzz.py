"""Coverage-guided fuzzing of every method in this process: `python -m tests.faults.fuzz`.

    pip install atheris
    python -m tests.faults.fuzz [--runs 1000000] [--corpus FOLDER] [--seed 1]

The other malformed requests are thought up without looking; these are bent towards code that none
before them reached. The services are the real ones over a data folder with a sealed plan; only the
connection is left out. What the trainer's side reads, envelopes, is fuzzed with them. Whatever is
answered without a type ends the run, and the input that did it is written to the corpus.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2, status_pb2

atheris: Any = import_module("atheris")  # by hand: it is built for few versions of Python
# What counts how far an input came is nothing that numba can compile.
os.environ["NUMBA_DISABLE_JIT"] = "1"
with atheris.instrument_imports(include=["recollect"]):
    from recollect.mixer.errors import Reason
    from recollect.services.access import DEFAULT_TENANT, Principal
    from recollect.services.access.principal import act_as
    from recollect.services.access.scopes import Scope
    from recollect.services.config import Settings
    from recollect.services.rooms import Rooms, Shared
    from recollect.services.status import answering
    from recollect.v1.envelope import DamagedMessage, opened

    from .fleet import make_place
    from .malformed import METHODS, MOST_ANSWERS, Maker

SEPARATOR = b"\xfe\xfd"
"""Between the messages of a call that takes several."""
NUM_SEEDS = 400


class Context:
    """What a method needs of its call."""

    def __init__(self) -> None:
        self.reason = ""

    async def abort_with_status(self, status: Any) -> None:
        """Ends the call, as gRPC would."""
        told = status_pb2.Status.FromString(
            dict(status.trailing_metadata)["grpc-status-details-bin"]
        )
        info = error_details_pb2.ErrorInfo()
        told.details[0].Unpack(info)
        self.reason = info.reason
        raise grpc.aio.AbortError

    def invocation_metadata(self) -> tuple[()]:
        """None were sent."""
        return ()


class House:
    """The services over a data folder, in this process."""

    def __init__(self, folder: Path) -> None:
        settings = Settings(data_folder=folder)
        self._rooms = Rooms(folder, Shared.load(settings))
        self._loop = asyncio.new_event_loop()
        self._principal = Principal(holder="fuzz", tenant=DEFAULT_TENANT, scopes=frozenset(Scope))

    def ask(self, data: bytes) -> None:
        """Sends an input: a byte that chooses the method, and its messages."""
        method = METHODS[data[0] % len(METHODS)]
        kind = GetMessageClass(method.input_type)
        parts = data[1:].split(SEPARATOR) if method.client_streaming else [data[1:]]
        try:
            requests = [kind.FromString(part) for part in parts]
        except DecodeError:
            return
        reason = self._loop.run_until_complete(self._answer(method, requests))
        if reason and (reason == Reason.INTERNAL.name or reason not in Reason.__members__):
            raise AssertionError(f"{method.full_name} answered {reason} to {data.hex()}")

    async def _answer(self, method: Any, requests: list[Any]) -> str:
        act_as(self._principal)
        servicer = self._rooms.servicers[method.containing_service.full_name]
        context: Any = Context()
        request = _sent(requests) if method.client_streaming else requests[0]
        try:
            async with answering(context):
                answer = getattr(servicer, method.name)(request, context)
                if method.server_streaming:
                    left = MOST_ANSWERS
                    async for _ in answer:
                        left -= 1
                        if not left:
                            break
                    await answer.aclose()
                else:
                    await answer
        except grpc.aio.AbortError:
            return str(context.reason)
        return ""


async def _sent(requests: list[Any]) -> Any:
    for request in requests:
        yield request


def read_envelope(data: bytes) -> None:
    """What a trainer reads of a message: it is one, or it is damaged."""
    try:
        opened(data)
    except DamagedMessage:
        return


def seeds(folder: Path, known: tuple[str, ...], seed: int) -> None:
    """Requests to begin with, as the others think them up."""
    folder.mkdir(parents=True, exist_ok=True)
    maker = Maker(random.Random(seed), known)
    for number in range(NUM_SEEDS):
        asked = maker.one()
        data = bytes([METHODS.index(asked.method)]) + SEPARATOR.join(asked.messages)
        (folder / f"seed-{number}").write_bytes(data)


def main() -> None:
    """Fuzzes until so many inputs were tried, or one is answered without a type."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.fuzz")
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, help="where to keep the inputs that reached most")
    options = parser.parse_args()
    temporary = tempfile.mkdtemp(prefix="rz")
    place = Path(temporary) / "place"
    plan_id = make_place(place)
    corpus = options.corpus or Path(temporary) / "corpus"
    seeds(corpus, (plan_id, "task", "general"), options.seed)
    house = House(place / "data")

    def one_input(data: bytes) -> None:
        if data:
            house.ask(data)
            read_envelope(data)

    print(f"seed {options.seed}, {options.runs:,} inputs, corpus {corpus}", flush=True)
    flags = [f"-atheris_runs={options.runs}", f"-seed={options.seed}", "-max_len=4096"]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
