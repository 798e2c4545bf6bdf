"""What de-identification over gRPC costs beside the same engine in process.

    python bench/deid_service.py [--kilobytes 600] [--policy gdpr-pseudonymous] [RESULT.json]

The same invented support records go through a real service (a process of its own, on its Unix
socket, under the key that it made) and through the engine in this process, in turns, several times.
Told are KB of text a second of wall time, best of the turns, and the ratio. The service also does
what a call entails: it checks every record, answers with spans, and writes its entry to the ledger.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from recollect.services.client import ServiceClient, connect
from recollect.services.deid_client import Record, Result, deidentified
from recollect.services.demo.processes import service_process
from recollect.services.demo.sample import DATA
from recollect.services.privacy import Deidentifier
from recollect.services.privacy.policy import load_policy

TURNS = 3


def records(num_bytes: int) -> list[Record]:
    """Records of the shipped sample of support dialogues, again and again, up to a size."""
    path = DATA / "train" / "support.jsonl"
    found: list[Record] = []
    size = 0
    while size < num_bytes:
        for line in path.read_text(encoding="utf-8").splitlines():
            turns = [turn["content"] for turn in json.loads(line)["turns"]]
            # No two are equal: nothing of one may be remembered for the next.
            found.append(Record.of_text("\n\n".join([f"Ticket {len(found)}", *turns])))
            size += _size(found[-1])
            if size >= num_bytes:
                break
    return found


def _size(record: Record) -> int:
    return sum(len(message.content.encode()) for message in record.messages)


def over_the_wire(client: ServiceClient, policy: str, given: Sequence[Record]) -> Iterator[str]:
    """Texts as the service answers them."""
    for result in deidentified(client, given, policy=policy, spans=True):
        yield _text(result)


def _text(result: Result) -> str:
    if result.refused is not None:
        raise result.refused
    return result.messages[0].content


def in_process(engine: Deidentifier, given: Sequence[Record]) -> Iterator[str]:
    """Texts as the engine here gives them."""
    for record in given:
        (preview,) = engine.explain([message.content for message in record.messages])
        yield preview.text


def measured(policy: str, given: Sequence[Record]) -> dict[str, Any]:
    """KB a second by way, and their ratio; fails where the two do not give the same texts."""
    size = sum(map(_size, given))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with service_process(place, threads=1) as address, connect(address) as client:
            key = (place / "data" / "keys" / "surrogate.key").read_bytes()
            engine = Deidentifier(load_policy(policy), key)
            ways: dict[str, Callable[[Sequence[Record]], Iterator[str]]] = {
                "in process": lambda some: in_process(engine, some),
                "over gRPC": lambda some: over_the_wire(client, policy, some),
            }
            best = dict.fromkeys(ways, float("inf"))
            texts: dict[str, list[str]] = {}
            for way in ways.values():
                list(way(given[:20]))
            for _ in range(TURNS):
                for name, way in ways.items():
                    start = time.perf_counter()
                    texts[name] = list(way(given))
                    best[name] = min(best[name], time.perf_counter() - start)
    if texts["in process"] != texts["over gRPC"]:
        raise SystemExit("the two ways do not give the same texts")
    speeds = {name: round(size / seconds / 1000, 1) for name, seconds in best.items()}
    return {
        "kb_per_s": speeds,
        "ratio": round(best["in process"] / best["over gRPC"], 3),
        "num_records": len(given),
        "kilobytes": size // 1000,
    }


def main() -> int:
    """Measures, prints, and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kilobytes", type=int, default=600)
    parser.add_argument("--policy", default="gdpr-pseudonymous")
    parser.add_argument("result", type=Path, nargs="?")
    options = parser.parse_args()
    body = {"policy": options.policy} | measured(options.policy, records(options.kilobytes * 1000))
    body["machine"] = {
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "load_at_end": round(os.getloadavg()[0], 2),
    }
    print(json.dumps(body, indent=1))
    if options.result:
        options.result.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
