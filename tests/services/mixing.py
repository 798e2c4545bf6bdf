"""Mixes of tokens, packed and changing, over three sources; and the command line to use them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml

from recollect.mixer.measures import Measures
from recollect.mixer.plan import Plan
from recollect.mixer.sealing import read_plan
from recollect.services import cli
from recollect.services.client import connect
from recollect.services.measure_frames import decode_measures
from recollect.v1 import mix_pb2 as wire

from .conftest import Service

Run = Callable[..., subprocess.CompletedProcess[str]]
SOURCES = {"dialogues": "task", "manuals": "general", "refusals": "refusal"}
POLICY = {
    "name": "house-rules",
    "roles": {"refusal": {"floor": 400}, "task": {"ceiling": 8000}},
}
MIX: dict[str, Any] = {
    "name": "support",
    "unit": "supervised_tokens",
    "packing": "best_fit",
    "batch_size": 8,
    "num_steps": 60,
    "max_length": 128,
    "sources": [
        {"source": "dialogues", "role": "task", "share": "70%"},
        {"source": "manuals", "role": "general", "share": "25%"},
        {"source": "refusals", "role": "refusal", "share": "5%"},
    ],
    "changes": [
        {
            "first_step": 30,
            "shares": {"dialogues": "50%", "manuals": "30%", "refusals": "20%"},
            "reason": "a guardrail slipped",
        }
    ],
}


def rows(source: str, num_rows: int) -> Iterator[dict[str, Any]]:
    for number in range(num_rows):
        asked = f"Question {number} of {source}? " + "Please be quick. " * (number % 9)
        answer = f"Answer {number}. " + "It is on its way to you now. " * (number * 7 % 13)
        yield {
            "messages": [
                {"role": "user", "content": asked},
                {"role": "assistant", "content": answer},
            ]
        }


def here(*arguments: object, server: str = "127.0.0.1:1") -> subprocess.CompletedProcess[str]:
    """Runs the command line within this process, which is much quicker."""
    words = list(map(str, arguments))
    texts = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(texts[0]):
        patch.setattr(sys, "argv", ["recollect", *words])
        patch.setattr(cli, "add_plugins", lambda: None)
        patch.setenv("RECOLLECT_SERVER", server)
        with redirect_stderr(texts[1]):
            try:
                cli.main()
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
    return subprocess.CompletedProcess(words, code, texts[0].getvalue(), texts[1].getvalue())


class served:
    """A service of its own over the data folder of a place; gives the command line for it."""

    def __init__(self, place: Path) -> None:
        self._service = Service(place / "data", more=(f"ratio_policy={place / 'policy.yaml'}",))
        self.address = self._service.address

    def __enter__(self) -> Run:
        return lambda *arguments: here(*arguments, server=self.address)

    def __exit__(self, *_: object) -> None:
        self._service.__exit__()


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "mix.yaml"
    path.write_text(yaml.safe_dump({**MIX, **changes}, sort_keys=False), encoding="utf-8")
    return path


def fetched(address: str, plan_json: str) -> Plan:
    """The plan with its measures, as another program would get them."""
    plan = read_plan(plan_json)

    def measures(source: str) -> Measures:
        request = wire.GetMeasuresRequest(plan_id=plan.plan_id, source=source)
        with connect(address) as client:
            return decode_measures(answer.payload for answer in client.mix.GetMeasures(request))

    return plan.with_measures({source.name: measures(source.name) for source in plan.sources})


def make_place(place: Path) -> Path:
    """A data folder with three sources, and a policy beside it."""
    (place / "policy.yaml").write_text(yaml.safe_dump(POLICY), encoding="utf-8")
    with served(place) as run:
        for source, role in SOURCES.items():
            path = place / f"{source}.jsonl"
            num_rows = {"dialogues": 40, "manuals": 25, "refusals": 12}[source]
            path.write_text("\n".join(map(json.dumps, rows(source, num_rows))), encoding="utf-8")
            told = run("ingest", path, "--source", source, "--role", role, "--json")
            assert told.returncode == 0, told.stderr
    return place
