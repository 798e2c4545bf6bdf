"""Our own line of the speed table: a service in a process of its own, batches over gRPC to tensors.

    python stream_ours.py recollect --data FOLDER --rows 512 --seconds 3 [--variant 0]
                          [--resume | --steps 1000000]

The rows are those of all the peers: they are written into the token cache of a store that holds as
many examples, and `recollect serve` and `ReplayLoader` do the rest as they do for everybody: the
schedule, the shuffle, the composition of every batch recomputed and compared by the trainer's side,
checksums. Variants are ways to connect. `--steps` reads so many and looks what memory both sides
hold after every tenth of them. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from stream_data import SHARES, place
from stream_measure import measure, resume, tree
from stream_task import BATCH_SIZE, Batch, Stream

from recollect.mixer.example import Example, Message, Pointer, Purpose, Role, Speaker
from recollect.mixer.plan import Plan
from recollect.mixer.sealing import seal
from recollect.services.config import SHIPPED_MODEL
from recollect.services.ledger import Ledger
from recollect.services.planbook import PlanBook
from recollect.services.replay import ReplayStore, Source
from recollect.services.secret import secret_key
from recollect.services.stream import ChatTemplate
from recollect.services.stream.template import Rendered
from recollect.services.stream.tokens import CacheKey, build
from recollect.services.yaml_text import mix_from_yaml
from recollect.trainer import ReplayLoader

VARIANTS = ("unix", "tcp")
ROLES = (Role.TASK, Role.GENERAL, Role.SYNTHETIC, Role.REFUSAL)
NUM_STEPS = 20_000_000
FAR_STEP = 10_000_000


class RawRows:
    """Renders example number n of a source as row n of the shared data."""

    def __init__(self, data: Path, length: int, source: int) -> None:
        where = place(data, length, "raw")
        self._tokens = np.load(where / f"{source}.tokens.npy", mmap_mode="r")
        self._mask = np.load(where / f"{source}.mask.npy", mmap_mode="r")

    def render_batch(
        self, group: Sequence[tuple[Message, ...]], *, max_length: int
    ) -> list[Rendered]:
        """The rows whose numbers are the contents of the messages."""
        rows = [int(messages[0].content) for messages in group]
        return [
            Rendered(input_ids=self._tokens[row], loss_mask=self._mask[row], num_tokens=max_length)
            for row in rows
        ]


def _example(source: str, row: int) -> Example:
    return Example(
        example_id=f"{row:032x}",
        source=source,
        messages=(Message(speaker=Speaker.TEXT, content=str(row)),),
        pointer=Pointer(file="rows", row=row + 1),
        subject=None,
        policy="none",
        findings=(),
    )


def make_folder(folder: Path, data: Path, length: int) -> Plan:
    """A data folder with as many examples as there are rows, their token caches, and a plan."""
    template = ChatTemplate.load(SHIPPED_MODEL)
    names = [f"source{number}" for number in range(len(SHARES))]
    with Ledger.open(folder / "ledger") as ledger:
        store = ReplayStore.open(folder, ledger)
        for number, (name, role) in enumerate(zip(names, ROLES, strict=True)):
            store.register(
                Source(
                    name=name,
                    role=role,
                    purpose=Purpose.TRAIN,
                    licence="CC0-1.0",
                    legal_basis="invented",
                )
            )
            num_rows = len(np.load(place(data, length, "raw") / f"{number}.mask.npy", "r"))
            with store.writer(name) as writer:
                for row in range(num_rows):
                    writer.add(_example(name, row))
        secret_key(folder / "keys" / "surrogate.key", create=True)
        snapshot = store.snapshot()
        for number, name in enumerate(names):
            held = snapshot.sources[name]
            key = CacheKey(
                content_digest=held.content_digest,
                tokenizer_digest=template.digest,
                max_length=length,
                num_rows=held.num_examples,
            )
            cache = folder / "cache" / "tokens" / f"{key.name}.tokens.arrow"
            cache.parent.mkdir(parents=True, exist_ok=True)
            build(
                cache,
                key,
                template=RawRows(data, length, number),  # type: ignore[arg-type]
                examples=store.examples(snapshot, name),
            )
        plan = seal(
            mix_from_yaml(_mix(names, length)),
            snapshot_id=snapshot.snapshot_id,
            sources=snapshot.sources,
            tokenizer_digest=template.digest,
        )
        PlanBook(ledger).seal(plan, actor="bench")
    return plan


def _mix(names: Sequence[str], length: int) -> str:
    return json.dumps(
        {
            "name": "speed",
            "batch_size": BATCH_SIZE,
            "num_steps": NUM_STEPS,
            "max_length": length,
            "sources": [
                {"source": name, "role": role.value, "share": str(share)}
                for name, role, share in zip(names, ROLES, SHARES, strict=True)
            ],
        }
    )


@contextlib.contextmanager
def service(folder: Path, variant: str) -> Iterator[str]:
    """The service in a process of its own; gives its address."""
    settings = {"data_folder": str(folder), "teacher.threads": "1"}
    if variant == "tcp":
        settings |= {"address": "127.0.0.1:0", "insecure": "true"}
    flags = [part for item in settings.items() for part in ("--set", "=".join(item))]
    command = [sys.executable, "-m", "recollect.services", "serve", "--json", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = ""
            while not said.endswith("}\n"):
                said += process.stdout.readline()
            yield json.loads(said)["address"]
        finally:
            process.terminate()


def batches(loader: ReplayLoader) -> Iterator[Batch]:
    """What a model takes."""
    for batch in loader:
        yield {
            "input_ids": batch.input_ids,
            "loss_mask": batch.loss_mask,
            "position_ids": batch.position_ids,
        }


def opened(address: str, plan: Plan, state: Any) -> Stream:
    """A stream of the plan, at a saved place or at the start."""
    loader = ReplayLoader(address, plan.plan_id)
    if state is not None:
        loader.load_state_dict(state)
    return Stream(
        batches=batches(loader), save=lambda step: {**loader.state_dict(), "next_step": step}
    )


def first_batch_far(make: Callable[[Any], Stream], plan: Plan) -> float:
    """Seconds until the batch of a step in the middle of the plan is there."""
    start = time.perf_counter()
    next(iter(make({"version": 1, "plan_id": plan.plan_id, "next_step": FAR_STEP}).batches))
    return time.perf_counter() - start


def memory(make: Callable[[Any], Stream], num_steps: int) -> dict[str, Any]:
    """MiB of the trainer's process and of the service's, after every tenth of the steps."""
    held: list[list[float]] = []
    start = time.perf_counter()
    steps = iter(make(None).batches)
    for number in range(1, num_steps + 1):
        next(steps)
        if number % (num_steps // 10) == 0:
            held.append([round(own_memory(process), 1) for process in tree()[:2]])
    trainer, server = zip(*held, strict=True)
    took = round(time.perf_counter() - start, 1)
    return {"num_steps": num_steps, "seconds": took, "trainer_MiB": trainer, "service_MiB": server}


def own_memory(process: int) -> float:
    """MiB that are a process's own: pages of mapped files are the kernel's to take back."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    [line] = [line for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(line.split()[1]) / 1024


def main() -> None:
    """Measures one way to connect."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--variant", type=int, default=0, help="number of the variant")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--steps", type=int, help="read so many, and look at the memory")
    options = parser.parse_args()
    variant = VARIANTS[options.variant]
    if variant == "tcp":
        os.environ["RECOLLECT_PLAINTEXT"] = "1"
    with tempfile.TemporaryDirectory(prefix="rs") as temporary:
        folder = Path(temporary) / "data"
        plan = make_folder(folder, options.data, options.rows)
        with service(folder, variant) as address:

            def make(state: Any) -> Stream:
                return opened(address, plan, state)

            if options.resume:
                figures = resume(make)
            elif options.steps:
                figures = memory(make, options.steps)
            else:
                figures = measure(make, options.rows, options.seconds)
                figures["far_first_batch_s"] = first_batch_far(make, plan)
    versions = {name: importlib.metadata.version(name) for name in ("recollect", "grpcio", "torch")}
    print(json.dumps({"variant": variant, "versions": versions, **figures}))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
