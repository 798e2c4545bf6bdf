"""A small data folder made of real parts, and processes that serve it and train on it.

python replica.py serve FOLDER ADDRESS [MESSAGE_BYTES]
python replica.py rank ADDRESS PLAN_ID FIRST_STEP RANK WORLD_SIZE
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
import pyarrow as pa
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from recollect.mixer.example import Example, Message, Pointer, Purpose, Role, Speaker
from recollect.mixer.plan import Plan
from recollect.mixer.sealing import seal
from recollect.services.ledger import Ledger
from recollect.services.mix_service import MixServicer
from recollect.services.planbook import PlanBook
from recollect.services.replay import ReplayStore, Source
from recollect.services.stream import (
    SERVER_OPTIONS,
    AnnotationShelf,
    ChatTemplate,
    StreamServicer,
    TokenCaches,
    course,
    handlers_of,
)
from recollect.services.yaml_text import mix_from_yaml
from recollect.trainer.client import connect
from recollect.v1 import mix_pb2_grpc

MARKERS = ["<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<|text|>"]
TEACHER = "7e" * 32
ROLES = {"support": Role.TASK, "general": Role.GENERAL, "refusals": Role.REFUSAL}
NUM_EXAMPLES = {"support": 40, "general": 25, "refusals": 7}
WORDS = [
    *(["the", "parcel", "came", "late", "and", "my", "screen", "shows", "a", "blue", "light"]),
    *(["so", "please", "tell", "me", "which", "cable", "fits"]),
]

MIX = """
name: replica
batch_size: 20
num_steps: 30
max_length: 48
seed: 7
sources:
  - {source: support, role: task, share: 70%}
  - {source: general, role: general, share: 1/4}
  - {source: refusals, role: refusal, share: 5%}
"""


HELD_OUT = """
name: held_out
purpose: evaluate
batch_size: 8
max_length: 48
sources:
  - {source: held_out, role: task, share: 1, on_exhaustion: stop}
"""


SHARES = """
seed: 7
sources:
  - {source: support, role: task, share: 70%}
  - {source: general, role: general, share: 1/4}
  - {source: refusals, role: refusal, share: 5%}
"""

WEIGHED = {
    "packed": f"""
name: packed
unit: tokens
packing: best_fit
batch_size: 12
num_steps: 30
max_length: 160
{SHARES}
""",
    "split": f"""
name: split
unit: supervised_tokens
packing: split
batch_size: 12
num_steps: 30
max_length: 100
{SHARES}
""",
    "weighed": f"""
name: weighed
unit: tokens
batch_size: 12
num_steps: 30
max_length: 48
{SHARES}
changes:
  - first_step: 13
    shares: {{support: 40%, general: 40%, refusals: 20%}}
""",
    "held_out": """
name: held_out_packed
purpose: evaluate
packing: best_fit
batch_size: 2
max_length: 160
sources:
  - {source: held_out, role: task, share: 1, on_exhaustion: stop}
""",
}
"""Mixes whose batches depend on the lengths of examples."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Replica:
    """A data folder with a sealed plan, one to evaluate with, and those that count tokens."""

    folder: Path
    plan: Plan
    held_out: Plan
    weighed: Mapping[str, Plan]

    @property
    def model(self) -> Path:
        return self.folder / "model"


def sentence(source: str, row: int) -> str:
    words = [WORDS[(row * 7 + 3 * place) % len(WORDS)] for place in range(4 + row % 9)]
    return f"{source} {row}: {' '.join(words)}"


def example(source: str, row: int) -> Example:
    # What is held out is like something that is trained on, so that training shows in it.
    subject, number = ("general", row + 30) if source == "held_out" else (source, row)
    asked, answered = sentence(subject, number), sentence(subject, number + 1)
    return Example(
        example_id=f"{row:032x}",
        source=source,
        messages=(
            Message(speaker=Speaker.USER, content=asked),
            Message(speaker=Speaker.ASSISTANT, content=answered),
        ),
        pointer=Pointer(file=f"{source}.jsonl", row=row + 1),
        subject=None,
        policy="none",
        findings=(),
    )


def train_tokenizer(folder: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=MARKERS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(
        [sentence(name, row) for name in ROLES for row in range(50)], trainer
    )
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))


def make_replica(folder: Path, *, mix: str = MIX) -> Replica:
    train_tokenizer(folder / "model")
    ledger = Ledger.open(folder)
    store = ReplayStore.open(folder, ledger)
    for name, role in {**ROLES, "held_out": Role.TASK}.items():
        store.register(
            Source(
                name=name,
                role=role,
                purpose=Purpose.EVALUATE if name == "held_out" else Purpose.TRAIN,
                licence="CC0-1.0",
                legal_basis="invented",
            )
        )
        with store.writer(name) as writer:
            for row in range(NUM_EXAMPLES.get(name, 10)):
                writer.add(example(name, row))
    snapshot = store.snapshot()
    caches = TokenCaches(
        folder / "cache", store=store, template=ChatTemplate.load(folder / "model")
    )
    measures = caches.measures(snapshot.snapshot_id, list(snapshot.sources.values()))
    plan, held_out, *weighed = (
        seal(
            mix_from_yaml(text),
            snapshot_id=snapshot.snapshot_id,
            sources=snapshot.sources,
            tokenizer_digest=caches.template.digest,
            measures=measures,
        )
        for text in (mix, HELD_OUT, *WEIGHED.values())
    )
    book = PlanBook(ledger)
    for sealed in (plan, held_out, *weighed):
        book.seal(sealed, actor="test")
    ledger.close()
    return Replica(
        folder=folder,
        plan=plan,
        held_out=held_out,
        weighed=dict(zip(WEIGHED, weighed, strict=True)),
    )


async def serve(folder: Path, address: str, message_bytes: int = course.TARGET_BYTES) -> None:
    course.TARGET_BYTES = message_bytes
    ledger = Ledger.open(folder)
    store = ReplayStore.open(folder, ledger)
    caches = TokenCaches(
        folder / "cache", store=store, template=ChatTemplate.load(folder / "model")
    )
    plans = PlanBook(ledger, ready=caches.ready)
    shelf = AnnotationShelf(folder / "cache", teacher_digest=TEACHER)
    server = grpc.aio.server(options=SERVER_OPTIONS)
    mixes = MixServicer(store=store, caches=caches, planbook=plans, max_length=4096)
    servicer = StreamServicer(plans, caches, ledger, annotations=shelf)
    server.add_generic_rpc_handlers((handlers_of(servicer),))
    mix_pb2_grpc.add_MixServiceServicer_to_server(mixes, server)
    port = server.add_insecure_port(address)
    await server.start()
    print(f"serving {port}", flush=True)
    await server.wait_for_termination()


def follow_rank(address: str, plan_id: str, first_step: int, rank: int, world_size: int) -> None:
    """Prints what a rank receives, one line of JSON for each step."""
    client = connect(address)
    num_steps = client.plan(plan_id).num_steps - first_step
    for frame in client.fetch(plan_id, first_step, num_steps, rank=rank, world_size=world_size):
        rows = pa.ipc.open_stream(frame.payload).read_next_batch()
        first = 0
        for step in frame.steps:
            of_step = rows.slice(first, step.num_rows)
            line = {
                "step": step.step,
                "positions": of_step.column("position").to_pylist(),
                "rows": hashlib.sha256(json.dumps(of_step.to_pydict()).encode()).hexdigest(),
                "payload": hashlib.sha256(frame.payload).hexdigest(),
            }
            print(json.dumps(line), flush=True)
            first += step.num_rows


class Process:
    """This file as a process of its own."""

    def __init__(self, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, *map(str, arguments)], stdout=subprocess.PIPE, text=True
        )

    def line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def lines(self) -> list[str]:
        """What it prints until it ends."""
        output, _ = self._process.communicate(timeout=60)
        assert self._process.returncode == 0
        return output.splitlines()

    def kill(self) -> None:
        """Ends it as a power failure would."""
        self._process.kill()
        self._process.communicate(timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()


class Server(Process):
    """A process that serves a data folder, once it is constructed."""

    def __init__(
        self, folder: Path, *, port: int = 0, message_bytes: int = course.TARGET_BYTES
    ) -> None:
        super().__init__("serve", folder, f"127.0.0.1:{port}", message_bytes)
        self.port = int(self.line().split()[1])
        self.address = f"127.0.0.1:{self.port}"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", folder, address, *message_bytes]:
            asyncio.run(serve(Path(folder), address, *map(int, message_bytes)))
        case ["rank", address, plan_id, *numbers]:
            follow_rank(address, plan_id, *map(int, numbers))
