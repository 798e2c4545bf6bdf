"""A training session: one run from the base model to the tuned one, and what is recorded of it."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..mixer.errors import Reason, RecollectError
from ..mixer.example import Purpose
from ..v1 import stream_pb2
from . import checkpoint
from .client import UNHEARD, LedgerHead
from .evals.guardrails import Figures, Guardrails, compare, evaluate, read_baseline, write_baseline
from .evals.measurement import Measurement
from .guard import RatioGuard
from .loader import ReplayLoader, TrainBatch
from .loop import FineTuning, StepRecord, run
from .model import load_model, load_tokenizer, save_model, weights_digest
from .ranks import Ranks
from .settings import Settings

if TYPE_CHECKING:
    from ..mixer.plan import Plan

REPORT_VERSION = 1
TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    "chat_template.jinja",
)
"""What a service reads to turn messages into tokens, so far as a model folder has it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What to train, on what, and where to put it."""

    server: str
    plan_id: str
    model: Path
    out: Path
    run_id: str
    settings: Settings = field(default_factory=Settings)
    guardrails: Guardrails = field(default_factory=Guardrails)
    baseline: Path | None = None
    """Where the figures of the base model are kept for other runs, or taken from."""
    rank: int = 0
    world_size: int = 1
    resume: bool = False

    @property
    def checkpoints(self) -> Path:
        """Folder of this rank's checkpoints."""
        return self.out / f"checkpoints-{self.rank}"


class Watcher(Protocol):
    """Whoever wants to see how a session gets on."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def begin(self, plan: Plan, first_step: int) -> None:
        """Training begins at a step."""

    def step(self, record: StepRecord) -> None:
        """A step was taken and acknowledged."""


@dataclass(kw_only=True, slots=True)
class Session:
    """One run while it goes on."""

    job: Job
    watcher: Watcher
    steps: list[dict[str, Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    ledger_head: LedgerHead = UNHEARD
    """As the checkpoint has it that the run goes on from."""

    def train(self) -> dict[str, Any]:
        """Trains, measures, saves, and tells the ledger; the report is also in OUT/run.json.

        Raises:
            RecollectError: for whatever the model, the service, the plan or a batch is refused.
        """
        began = time.perf_counter()
        job = self.job
        self._refuse_leftovers()
        ranks = Ranks.join(job.rank, job.world_size)
        try:
            report = self._train(ranks)
        finally:
            ranks.leave()
        report["seconds"] = round(time.perf_counter() - began, 3)
        if job.rank == 0:
            _write_json(job.out / "run.json", report)
        shutil.rmtree(job.checkpoints, ignore_errors=True)
        return report

    def _train(self, ranks: Ranks) -> dict[str, Any]:
        job = self.job
        self.watcher.stage("load the model")
        base_digest = weights_digest(job.model)
        with ReplayLoader(
            job.server, job.plan_id, rank=job.rank, world_size=job.world_size
        ) as loader:
            loader.plan.require(Purpose.TRAIN)
            model = load_model(job.model, loader.plan)
            tuning = FineTuning(
                model,
                job.settings,
                num_steps=loader.plan.num_steps,
                sources=[source.name for source in loader.plan.sources],
                ranks=ranks,
            )
            # The base is measured before a checkpoint puts other weights into the model.
            before = self._before(tuning, base_digest)
            first_step = self._restore(tuning, base_digest)
            self._start(loader, base_digest, first_step)
            self._run(tuning, loader, base_digest, first_step)
            ranks.sum(0.0)  # Every rank has acknowledged its last step once this returns.
            if job.rank != 0:
                return {}
            after = self._evaluate(tuning, "after")
            self.watcher.stage("save the model")
            tuned_digest = save_model(tuning.model, job.out / "model")
            self._copy_tokenizer()
            measurements = compare(before, after)
            self._finish(loader, tuned_digest, measurements)
            return self._report(loader.plan, base_digest, tuned_digest, measurements)

    def _run(
        self, tuning: FineTuning, loader: ReplayLoader, base_digest: str, first_step: int
    ) -> None:
        job = self.job
        guard = RatioGuard(
            loader.plan, rank=job.rank, world_size=job.world_size, first_step=first_step
        )
        every = job.settings.checkpoint_every

        def acknowledge(batch: TrainBatch) -> None:
            loader.ack(job.run_id, batch)

        def report(record: StepRecord) -> None:
            self.steps.append(_told(record))
            self.watcher.step(record)
            done = record.step + 1
            if every and done % every == 0 and done < loader.plan.num_steps:
                progress = checkpoint.Progress(
                    plan_id=job.plan_id,
                    base_digest=base_digest,
                    next_step=done,
                    steps=tuple(self.steps),
                    ledger_head=loader.ledger_head,
                )
                checkpoint.save(job.checkpoints, tuning, progress)

        began = time.perf_counter()
        self.watcher.begin(loader.plan, first_step)
        run(tuning, loader, check=guard.observe, acknowledge=acknowledge, report=report)
        self.seconds["train"] = round(time.perf_counter() - began, 3)

    def _before(self, tuning: FineTuning, base_digest: str) -> Figures:
        job = self.job
        if job.rank != 0:
            return {}
        if job.baseline is not None:
            kept = read_baseline(job.baseline, job.guardrails, base_digest)
            if kept is not None:
                return kept
        figures = self._evaluate(tuning, "before")
        if job.baseline is not None:
            write_baseline(job.baseline, figures, job.guardrails, base_digest)
        return figures

    def _evaluate(self, tuning: FineTuning, when: str) -> Figures:
        began = time.perf_counter()
        figures = evaluate(
            tuning.model,
            self.job.guardrails,
            open_tokenizer=lambda: load_tokenizer(self.job.model),
            open_plan=lambda plan_id: ReplayLoader(self.job.server, plan_id),
            report=lambda subject: self.watcher.stage(f"measure {subject} {when}"),
        )
        self.seconds[f"evaluate_{when}"] = round(time.perf_counter() - began, 3)
        return figures

    def _restore(self, tuning: FineTuning, base_digest: str) -> int:
        job = self.job
        path = checkpoint.newest(job.checkpoints)
        if path is None:
            return 0
        progress = checkpoint.restore(path, tuning, plan_id=job.plan_id, base_digest=base_digest)
        self.steps = list(progress.steps)
        self.ledger_head = progress.ledger_head
        return progress.next_step

    def _start(self, loader: ReplayLoader, base_digest: str, first_step: int) -> None:
        job = self.job
        settings = {**job.settings.model_dump(mode="json"), "world_size": job.world_size}
        text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
        known = loader.client.start_run(
            job.run_id,
            job.plan_id,
            base_digest=base_digest,
            settings_json=text,
            ledger_head=self.ledger_head,
        )
        if known > 0 and not job.resume:
            raise RecollectError(
                Reason.CONFIG_INVALID,
                f"The run {job.run_id} has {known} steps already.",
                where="--run-id",
                fix="Go on with it by --resume, or choose another run id.",
            )
        # Steps between the checkpoint and the last acknowledgement are taken again: same batches,
        # same weights, and the service knows their acknowledgements.
        loader.load_state_dict({**loader.state_dict(), "next_step": first_step})

    def _refuse_leftovers(self) -> None:
        job = self.job
        if checkpoint.newest(job.checkpoints) is not None and not job.resume:
            raise RecollectError(
                Reason.CONFIG_INVALID,
                "The folder holds a checkpoint of an unfinished run.",
                where=str(job.out),
                fix="Go on with it by --resume, or choose another folder.",
            )

    def _copy_tokenizer(self) -> None:
        for name in TOKENIZER_FILES:
            if (self.job.model / name).is_file():
                shutil.copyfile(self.job.model / name, self.job.out / "model" / name)

    def _finish(
        self, loader: ReplayLoader, tuned_digest: str, measurements: list[Measurement]
    ) -> None:
        loader.client.finish_run(
            self.job.run_id,
            tuned_digest=tuned_digest,
            measurements=[stream_pb2.Measurement(**asdict(m)) for m in measurements],
        )

    def _report(
        self, plan: Plan, base_digest: str, tuned_digest: str, measurements: list[Measurement]
    ) -> dict[str, Any]:
        return {
            "version": REPORT_VERSION,
            "run_id": self.job.run_id,
            "plan_id": plan.plan_id,
            "base_digest": base_digest,
            "tuned_digest": tuned_digest,
            "world_size": self.job.world_size,
            "settings": self.job.settings.model_dump(mode="json"),
            "shares": {source.name: str(source.share) for source in plan.sources},
            "unit": str(plan.mix.unit),
            "realised": realised(self.steps),
            "realised_tokens": realised(self.steps, "tokens"),
            "realised_supervised_tokens": realised(self.steps, "supervised_tokens"),
            "measurements": [asdict(m) for m in measurements],
            "stage_seconds": self.seconds,
            "steps": self.steps,
        }


def realised(steps: list[dict[str, Any]], what: str = "counts") -> dict[str, int]:
    """Rows of each source over the steps, or its tokens or supervised tokens."""
    total: dict[str, int] = {}
    for step in steps:
        for source, number in step.get(what, {}).items():
            total[source] = total.get(source, 0) + number
    return total


def _told(record: StepRecord) -> dict[str, Any]:
    return {
        "step": record.step,
        "loss": round(record.loss, 6),
        "loss_by_source": {name: round(loss, 6) for name, loss in record.losses.items()},
        "counts": dict(record.counts),
        "tokens": {name: tally.num_tokens for name, tally in record.tallies.items()},
        "supervised_tokens": {
            name: tally.num_supervised_tokens for name, tally in record.tallies.items()
        },
        "num_tokens": record.num_tokens,
        "learning_rate": record.learning_rate,
        "gradient_norm": round(record.gradient_norm, 6),
        "seconds": round(record.seconds, 4),
    }


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    partial.replace(path)
