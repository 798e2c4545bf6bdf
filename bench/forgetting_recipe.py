"""Which recipe lets the mix forget less than half at nearly the whole gain?

Fine-tunes the shipped model on support dialogues alone and on the mix, from the same base, for the
same steps and rows, and measures what is gained and what is forgotten. The development rows are in
neither the base's corpus nor the shipped evaluation files, so the recipe that the demo ships was
chosen without a look at the rows that the demo reports on.

    python bench/forgetting_recipe.py --data DIR --out bench/results/forgetting_recipe.json

`--split shipped` measures a chosen recipe on the rows that ship, without the service in between.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recollect.mixer.example import Message, Purpose, Role, Speaker
from recollect.mixer.mix import Mix
from recollect.mixer.plan import Plan, SourceSnapshot
from recollect.mixer.sealing import seal
from recollect.services.demo.sample import DATA, FILES
from recollect.services.intake import IntakeReport, read_examples
from recollect.services.stream.template import ChatTemplate, Rendered
from recollect.services.teacher import corpus
from recollect.services.teacher.frozen import FrozenTeacher
from recollect.services.teacher.rehearsal import (
    Dropped,
    Rehearsing,
    read_back,
    row_seed,
)
from recollect.services.teacher.sampling import write
from recollect.trainer.evals.likelihood import mean_losses, pooled
from recollect.trainer.evals.refusals import refused
from recollect.trainer.loop import FineTuning
from recollect.trainer.model import load_model, load_tokenizer
from recollect.trainer.settings import Settings
from recollect.trainer.tally import SourceTally

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "services" / "teacher" / "model"
SAMPLE = ROOT / "services" / "demo" / "data"
GUARDRAILS = {
    "general": ("instructions",),
    "maths": ("maths",),
    "refusal": ("refusals",),
}
SHARES = {
    "support": "70%",
    "instructions": "7.5%",
    "maths": "7.5%",
    "refusals": "2%",
    "safe_completions": "1.5%",
    "counterexamples": "1.5%",
    "synthetic": "10%",
}
ROLES = {
    "support": Role.TASK,
    "instructions": Role.GENERAL,
    "maths": Role.GENERAL,
    "refusals": Role.REFUSAL,
    "safe_completions": Role.SAFE_COMPLETION,
    "counterexamples": Role.COUNTEREXAMPLE,
    "synthetic": Role.SYNTHETIC,
}

Chats = dict[str, list[tuple[Message, ...]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """What is chosen."""

    num_steps: int = 40
    batch_size: int = 20
    max_length: int = 192
    learning_rate: float = 1e-3
    warm_up_steps: int = 6
    schedule: str = "cosine"
    num_task_rows: int = 210


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """A batch, as the loop takes it."""

    step: int
    input_ids: torch.Tensor
    labels: torch.Tensor
    attention_mask: torch.Tensor
    sources: torch.Tensor
    tallies: Mapping[str, SourceTally]
    packed: bool = False

    @property
    def position_ids(self) -> torch.Tensor:
        return torch.arange(self.input_ids.shape[1]).expand(self.input_ids.shape)


def collate(step: int, rows: Sequence[Rendered], places: Sequence[int]) -> Rows:
    width = max(len(row.input_ids) for row in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.long)
    labels = torch.full((len(rows), width), -100)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        tokens = torch.from_numpy(row.input_ids).long()
        ids[i, : len(tokens)] = tokens
        mask[i, : len(tokens)] = 1
        labels[i, : len(tokens)] = tokens.masked_fill(~torch.from_numpy(row.loss_mask), -100)
    return Rows(
        step=step,
        input_ids=ids,
        labels=labels,
        attention_mask=mask,
        sources=torch.tensor(places),
        tallies={},
    )


def batches(plan: Plan, rendered: Mapping[str, list[Rendered]]) -> Iterator[Rows]:
    names = [source.name for source in plan.sources]
    for step in range(plan.num_steps):
        batch = plan.batch(step)
        pairs = list(zip(batch.sources.tolist(), batch.examples.tolist(), strict=True))
        yield collate(step, [rendered[names[s]][e] for s, e in pairs], [s for s, _ in pairs])


def sealed(recipe: Recipe, chats: Chats, shares: Mapping[str, str], seed: int) -> Plan:
    sources = [{"source": n, "role": ROLES[n].value, "share": s} for n, s in shares.items()]
    mix = Mix.model_validate(
        {
            "name": "recipe",
            "batch_size": recipe.batch_size,
            "num_steps": recipe.num_steps,
            "max_length": recipe.max_length,
            "seed": seed,
            "sources": sources,
        }
    )
    held = {
        name: SourceSnapshot(
            name=name,
            role=ROLES[name],
            purpose=Purpose.TRAIN,
            num_examples=len(chats[name]),
            content_digest="0" * 64,
        )
        for name in shares
    }
    return seal(mix, snapshot_id="0" * 64, sources=held, tokenizer_digest="0" * 64)


def chat(messages: Sequence[tuple[str, str]]) -> tuple[Message, ...]:
    return tuple(Message(speaker=Speaker(s), content=c) for s, c in messages)


def support_rows(data: Path, forbidden: str, num_train: int, num_held: int) -> tuple[Any, Any]:
    """Dialogues of the full set that are in no evaluation file, in a fixed random order."""
    chats = []
    with gzip.open(data / "task" / "support_dialogues.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            turns = json.loads(line)["turns"]
            pairs = [
                ("user" if t["role"].lower() == "user" else "assistant", t["content"].strip())
                for t in turns
            ]
            first = corpus._squeeze(pairs[0][1])
            if len(pairs) > 1 and first not in forbidden:
                chats.append(chat(pairs))
    random.Random("development").shuffle(chats)
    return chats[:num_train], chats[num_train : num_train + num_held]


def development(data: Path, recipe: Recipe) -> tuple[Chats, Chats]:
    """Training and held-out rows, by source; sizes are those of the shipped sample."""
    forbidden = corpus.evaluation_text(SAMPLE)
    support, support_held = support_rows(data, forbidden, recipe.num_task_rows, 40)
    train: Chats = {"support": support}
    held: Chats = {"support": support_held}
    names = {"general": "instructions", "maths": "maths"}
    names |= {n: n for n in ("refusals", "safe_completions", "counterexamples")}
    seen: dict[str, list[corpus.Document]] = {}
    for document in dict.fromkeys(corpus.read_behaviour(data, SAMPLE)):
        seen.setdefault(document.source, []).append(document)
    for source, name in names.items():
        documents = sorted(seen[source], key=lambda d: d.key)
        kept = [chat(d.messages) for d in documents if not corpus.held_out(d)]
        train[name] = kept[: 240 if name in ("maths", "instructions") else None]
        held[name] = [chat(d.messages) for d in documents if corpus.held_out(d)][:60]
    return train, held


def synthetic(model: Path, num_rows: int, seed: int = 0) -> list[tuple[Message, ...]]:
    """What the frozen base writes after nothing but the user's token."""
    teacher = FrozenTeacher.load(model)
    rehearsing = Rehearsing()
    kept: list[tuple[Message, ...]] = []
    prompt = [teacher.token_id("<|user|>")]
    attempt = 0
    while len(kept) < num_rows:
        seeds = [row_seed(seed, attempt + i) for i in range(rehearsing.batch_size)]
        attempt += len(seeds)
        for row in write(
            teacher, [prompt] * len(seeds), seeds=seeds, turns=2, dice=rehearsing.dice
        ):
            try:
                kept.append(read_back(teacher, row, rehearsing, None))
            except Dropped:
                continue
    return kept[:num_rows]


def shipped() -> tuple[Chats, Chats]:
    """The rows that ship with the demo, before de-identification, by source."""
    train: Chats = {}
    held: Chats = {}
    for file in FILES:
        rows = [e.messages for e in read_examples(DATA / file.path, report=IntakeReport())]
        into = train if file.purpose is Purpose.TRAIN else held
        into.setdefault(file.source.removesuffix("_held_out"), []).extend(rows)
    return train, held


def measure(model: Any, base: Path, rendered: Mapping[str, list[Rendered]]) -> dict[str, float]:
    names = list(rendered)
    places = [(row, place) for place, name in enumerate(names) for row in rendered[name]]
    places.sort(key=lambda pair: len(pair[0].input_ids))
    groups = [places[i : i + 32] for i in range(0, len(places), 32)]
    made = [collate(i, [r for r, _ in g], [p for _, p in g]) for i, g in enumerate(groups)]
    losses = mean_losses(model, made, names)
    figures = {name: pooled([losses[s] for s in parts]) for name, parts in GUARDRAILS.items()}
    figures["support"] = losses["support"].mean
    figures |= {f"nll {name}": losses[name].mean for name in names}
    wanted = [p for n, p in enumerate(names) if p in ("refusals", "counterexamples")]
    chosen = [(r, n) for n, p in enumerate(names) if p in wanted for r in rendered[p]]
    asked = [collate(0, [r for r, _ in chosen], [p for _, p in chosen])]
    marks = refused(model, load_tokenizer(base), asked, names)
    return figures | {f"refused {name}": sum(m) / len(m) for name, m in marks.items()}


def one_run(
    recipe: Recipe,
    shares: Mapping[str, str],
    seed: int,
    train: Chats,
    held: Mapping[str, list[Rendered]],
    base: Path,
) -> dict[str, Any]:
    template = ChatTemplate.load(base)
    rendered = {n: template.render_batch(train[n], max_length=recipe.max_length) for n in shares}
    plan = sealed(recipe, train, shares, seed)
    settings = Settings(
        learning_rate=recipe.learning_rate,
        warm_up_steps=recipe.warm_up_steps,
        schedule=recipe.schedule,
        threads=1,
    )
    tuning = FineTuning(load_model(base), settings, num_steps=plan.num_steps, sources=list(shares))
    began = time.process_time()
    tokens = sum(tuning.step(batch).num_tokens for batch in batches(plan, rendered))
    seconds = time.process_time() - began
    return {**measure(tuning.model, base, held), "tokens": tokens, "cpu_seconds": round(seconds, 1)}


def compare(
    before: Mapping[str, float], task: dict[str, Any], mix: dict[str, Any]
) -> dict[str, Any]:
    """Gain and forgetting of both runs, and the two ratios that the demo is about."""

    def gain(run: Mapping[str, float]) -> float:
        return before["support"] - run["support"]

    def forgotten(run: Mapping[str, float]) -> float:
        return sum(run[g] - before[g] for g in GUARDRAILS) / len(GUARDRAILS)

    return {
        "gain_task": gain(task),
        "gain_mix": gain(mix),
        "forgetting_task": forgotten(task),
        "forgetting_mix": forgotten(mix),
        "by_guardrail": {
            g: {"task": task[g] - before[g], "mix": mix[g] - before[g]} for g in GUARDRAILS
        },
        "gain_ratio": gain(mix) / gain(task),
        "forgetting_ratio": forgotten(mix) / forgotten(task),
    }


def trial(
    rows: tuple[Chats, Chats], base: Path, recipe: Recipe, seeds: Sequence[int]
) -> dict[str, Any]:
    """Both runs for every seed; the ratios are of the means over the seeds."""
    template = ChatTemplate.load(base)
    train, held_chats = rows
    train["synthetic"] = synthetic(base, 200)
    held = {n: template.render_batch(c, max_length=256) for n, c in held_chats.items()}
    before = measure(load_model(base), base, held)
    results = []
    for seed in seeds:
        task = one_run(recipe, {"support": "100%"}, seed, train, held, base)
        mix = one_run(recipe, SHARES, seed, train, held, base)
        results.append({"seed": seed, **compare(before, task, mix), "task": task, "mix": mix})
        print(json.dumps({k: v for k, v in results[-1].items() if k not in ("task", "mix")}))
    names = ("gain_task", "gain_mix", "forgetting_task", "forgetting_mix")
    means = {name: sum(r[name] for r in results) / len(results) for name in names}
    means["gain_ratio"] = means["gain_mix"] / means["gain_task"]
    means["forgetting_ratio"] = means["forgetting_mix"] / means["forgetting_task"]
    recipe_json = {name: getattr(recipe, name) for name in Recipe.__slots__}
    return {"recipe": recipe_json, "before": before, "means": means, "seeds": results}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    default = os.environ.get("RECOLLECT_DATA")
    parser.add_argument("--data", type=Path, default=default, required=default is None)
    parser.add_argument("--split", choices=("development", "shipped"), default="development")
    parser.add_argument("--model", type=Path, default=MODEL)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--recipe", type=json.loads, default={}, help="JSON object of a Recipe")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    recipe = Recipe(**arguments.recipe)
    choose = arguments.split == "development"
    rows = development(arguments.data, recipe) if choose else shipped()
    result = {"split": arguments.split}
    result |= trial(rows, arguments.model, recipe, range(arguments.seeds))
    print(json.dumps({"recipe": result["recipe"], "means": result["means"]}))
    if arguments.out:
        held = json.loads(arguments.out.read_text("utf-8")) if arguments.out.exists() else []
        text = json.dumps([*held, result], indent=1)
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
