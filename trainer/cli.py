"""`recollect train`: fine-tunes a model on a sealed plan."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ..mixer.errors import Reason, RecollectError
from ..mixer.mix import Unit
from ..v1.connection import default_address

if TYPE_CHECKING:
    from ..mixer.plan import Plan
    from .loop import StepRecord

console = Console()
notes = Console(stderr=True)


class Account:
    """What is told of a step: loss, speed and the realised ratio of each source so far."""

    def __init__(self) -> None:
        self.unit = Unit.EXAMPLES
        self._amounts: dict[str, int] = {}

    def add(self, record: StepRecord) -> str:
        """Takes a step in; what to say of it."""
        for source, tally in record.tallies.items():
            self._amounts[source] = self._amounts.get(source, 0) + tally.amount(self.unit)
        whole = sum(self._amounts.values()) or 1
        ratio = " ".join(f"{source} {n / whole:.1%}" for source, n in self._amounts.items())
        speed = record.num_tokens / record.seconds
        return f"loss {record.loss:.3f}  {speed:,.0f} tokens/s  {ratio}"


class Bar:
    """A progress bar, for who watches."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task = progress.add_task("start", total=None)
        self._account = Account()

    def stage(self, name: str) -> None:
        """Shows what is being done."""
        self._progress.update(self._task, description=name)

    def begin(self, plan: Plan, first_step: int) -> None:
        """Sets the length of the bar."""
        self._account.unit = plan.mix.unit
        self._progress.update(self._task, total=plan.num_steps, completed=first_step)

    def step(self, record: StepRecord) -> None:
        """Shows a step."""
        text = self._account.add(record)
        self._progress.update(self._task, completed=record.step + 1, description=text)


class Lines:
    """Plain lines, for a log: one for each stage, and one for each tenth of the steps."""

    def __init__(self) -> None:
        self._num_steps = 0
        self._account = Account()

    def stage(self, name: str) -> None:
        """Says what is being done."""
        _note(name)

    def begin(self, plan: Plan, first_step: int) -> None:
        """Remembers how many steps there are."""
        self._account.unit = plan.mix.unit
        self._num_steps = plan.num_steps

    def step(self, record: StepRecord) -> None:
        """Tells of the step that completes a tenth."""
        text = self._account.add(record)
        done = record.step + 1
        if 10 * done // self._num_steps > 10 * record.step // self._num_steps:
            _note(f"step {done:,} of {self._num_steps:,}: {text}")


def train(
    plan: Annotated[str, typer.Option(help="Id of the sealed plan.")],
    model: Annotated[Path, typer.Option(help="Folder of the base model.")],
    out: Annotated[Path, typer.Option(help="Folder for the tuned model and run.json.")],
    run_id: Annotated[str, typer.Option(help="Name of the run: letters, digits, - and _.")],
    server: Annotated[
        str, typer.Option(envvar="RECOLLECT_SERVER", help="host:port or unix:/path of the service.")
    ] = default_address(),
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    schedule: Annotated[str, typer.Option(help="cosine or constant.")] = "cosine",
    warm_up_steps: Annotated[int, typer.Option(help="Steps of linear warm-up.")] = 6,
    weight_decay: Annotated[float, typer.Option(help="Decay of matrices.")] = 0.01,
    clip: Annotated[float, typer.Option(help="Largest norm of the gradient.")] = 1.0,
    micro_rows: Annotated[
        int | None, typer.Option(help="Rows at once; less memory, the same result.")
    ] = None,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints; 0: none.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the model's own randomness.")] = 0,
    threads: Annotated[int | None, typer.Option(help="Threads of torch.")] = None,
    rank: Annotated[int, typer.Option(envvar="RANK", help="This process, from 0.")] = 0,
    world_size: Annotated[
        int, typer.Option(envvar="WORLD_SIZE", help="Processes that share each batch.")
    ] = 1,
    evaluate: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=PLAN_ID: measure the loss on an evaluation plan, before and after."
        ),
    ] = None,
    refusals: Annotated[
        list[str] | None,
        typer.Option(help="NAME=PLAN_ID: measure how often its prompts are refused."),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(help="File with the base model's figures; written if absent.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on after the last checkpoint.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, the summary alone.")] = False,
) -> None:
    """Fine-tune a model on the batches of a sealed plan.

    Every batch is checked against the plan before the optimizer steps, and acknowledged after. With
    `--evaluate` and `--refusals` the model is measured before and after on held-out plans. Several
    ranks meet at MASTER_ADDR and MASTER_PORT, as torchrun sets them.
    """
    from .checkpoint import newest
    from .evals.guardrails import Guardrails
    from .session import Job, Session
    from .settings import Settings

    try:
        settings = Settings.model_validate(
            {
                "learning_rate": learning_rate,
                "schedule": schedule,
                "warm_up_steps": warm_up_steps,
                "weight_decay": weight_decay,
                "clip": clip,
                "micro_rows": micro_rows,
                "checkpoint_every": checkpoint_every,
                "seed": seed,
                "threads": threads,
            }
        )
    except ValidationError as error:
        raise _invalid(error) from None
    job = Job(
        server=server,
        plan_id=plan,
        model=model,
        out=out,
        run_id=run_id,
        settings=settings,
        guardrails=Guardrails(
            likelihood=_named("--evaluate", evaluate or ()),
            refusals=_named("--refusals", refusals or ()),
        ),
        baseline=baseline,
        rank=rank,
        world_size=world_size,
        resume=resume,
    )
    if resume and rank == 0 and newest(job.checkpoints) is None:
        _note(f"no checkpoint in {job.checkpoints}: starting at step 0")
    _hide_bars_of_transformers()
    hidden = quiet or as_json
    if as_json:
        # What is printed is for programs to read: an error, if there is one, and nothing beside it.
        logging.getLogger(f"{__package__}.outage").addHandler(logging.NullHandler())
    with _progress(hidden or not notes.is_terminal) as progress:
        in_lines = not hidden and not notes.is_terminal and rank == 0
        watcher = Lines() if in_lines else Bar(progress)
        report = Session(job=job, watcher=watcher).train()
    if as_json:
        console.print_json(json.dumps({k: v for k, v in report.items() if k != "steps"}))
    elif rank == 0:
        _show(report, model=out / "model", world_size=world_size)


train.example = (  # type: ignore[attr-defined]
    "Example: recollect train --server 127.0.0.1:7431 --plan 3f9c… --model ./base --out ./tuned "
    "--run-id support-1 --evaluate general=8ab1…"
)


def _note(text: str) -> None:
    notes.print(text, markup=False, highlight=False, soft_wrap=True)


def _progress(hidden: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=notes,
        transient=True,
        disable=hidden,
    )


def _hide_bars_of_transformers() -> None:
    from transformers.utils import logging

    # Those for the loading of weights run into ours.
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def _named(option: str, pairs: Sequence[str]) -> dict[str, str]:
    named: dict[str, str] = {}
    for pair in pairs:
        name, separator, plan_id = pair.partition("=")
        if not (name and separator and plan_id):
            raise RecollectError(
                Reason.CONFIG_INVALID,
                f"{pair!r:.80} is not NAME=PLAN_ID.",
                where=option,
                fix=f"Write, for example, {option} general=PLAN_ID.",
            )
        named[name] = plan_id
    return named


def _invalid(error: ValidationError) -> RecollectError:
    first = error.errors(include_input=False)[0]
    option = "--" + str(first["loc"][0]).replace("_", "-")
    return RecollectError(Reason.CONFIG_INVALID, f"{first['msg']}.", where=option)


def _show(report: dict[str, Any], *, model: Path, world_size: int) -> None:
    of_rank = " on rank 0" if world_size > 1 else ""
    table = Table(title=f"run {report['run_id']}", title_justify="left", header_style="dim")
    for column in ("metric", "subject", "before", "after", "change"):
        table.add_column(column, justify="left" if column in ("metric", "subject") else "right")
    for m in report["measurements"]:
        change = m["after"] - m["before"]
        figures = (f"{m['before']:.3f}", f"{m['after']:.3f}", f"{change:+.3f}")
        table.add_row(m["metric"], m["subject"], *figures)
    if report["measurements"]:
        console.print(table)
    else:
        console.print(
            "not measured: --evaluate NAME=PLAN_ID says what was gained and forgotten",
            highlight=False,
        )
    losses = [step["loss"] for step in report["steps"]]
    if losses:
        console.print(f"training loss {losses[0]:.3f} → {losses[-1]:.3f}", highlight=False)
    _show_shares(report, of_rank=of_rank)
    console.print(f"the tuned model is in {model}", highlight=False)


_REALISED = {
    Unit.EXAMPLES: "realised",
    Unit.TOKENS: "realised_tokens",
    Unit.SUPERVISED_TOKENS: "realised_supervised_tokens",
}
_NOUNS = {
    Unit.EXAMPLES: "rows",
    Unit.TOKENS: "tokens",
    Unit.SUPERVISED_TOKENS: "supervised tokens",
}


def _show_shares(report: dict[str, Any], *, of_rank: str) -> None:
    """Prints what each source had, in the unit of the plan."""
    unit = Unit(report["unit"])
    realised = report[_REALISED[unit]]
    whole = sum(realised.values()) or 1
    for source, amount in realised.items():
        share = f"{amount / whole:.2%} (share {report['shares'][source]})"
        console.print(f"{source}: {amount:,} {_NOUNS[unit]}{of_rank}, {share}", highlight=False)
