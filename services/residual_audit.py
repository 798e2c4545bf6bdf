"""Residual audit: samples a store, looks at each example a second time, and bounds what is left."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from ..mixer.errors import Reason, RecollectError
from .ledger import Ledger
from .privacy import StandIn
from .privacy.residual import Outcome, ResidualTally, Sample, draw_sample
from .privacy.residual.kinds import Finder
from .privacy.standin_places import PlaceSeal
from .replay import Snapshot
from .replay.picking import examples_at
from .replay.segment import read_examples
from .replay.snapshot import Holdings, unknown_source
from .secret import secret_key

if TYPE_CHECKING:
    from .privacy.residual.quasi import Anonymity

MAX_EXAMPLES = 1_000_000
"""Most examples to look at, of the whole and of a source."""
_SEED_BITS = 53
"""So that every reader of JSON keeps the seed whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What to look at."""

    num_examples: int = 1000
    """Of the whole store."""
    per_source: int = 100
    """Of each source, at least."""
    seed: int | None = None
    """None draws one."""
    sources: tuple[str, ...] = ()
    """None named: all."""

    def __post_init__(self) -> None:
        for name, least in (("num_examples", 1), ("per_source", 0)):
            value = getattr(self, name)
            if not least <= value <= MAX_EXAMPLES:
                raise RecollectError(
                    Reason.INPUT_MALFORMED,
                    f"{value} examples cannot be looked at.",
                    where=name,
                    fix=f"Ask for {least} … {MAX_EXAMPLES}.",
                )
        if self.seed is not None and not 0 <= self.seed < 1 << 63:
            raise RecollectError(
                Reason.INPUT_MALFORMED,
                f"the seed {self.seed} cannot be used.",
                where="seed",
                fix="Choose one from 0 on, below 2^63, or none.",
            )


@dataclass(frozen=True, slots=True)
class Progress:
    """Examples looked at, and to look at."""

    num_done: int
    num_all: int


@cache
def second_detector() -> Finder:
    """The second detector, made once a process."""
    from .privacy.residual.detector import SecondDetector

    return SecondDetector()


def model_finder(model: Path) -> Finder:
    """A model of somebody's own, from its folder, as a second detector.

    Raises:
        RecollectError: MODEL_UNUSABLE, PACKAGE_MISSING, DEIDENTIFICATION_FAILED.
    """
    from .privacy.residual.model import ModelFinder

    return ModelFinder(model)


class ResidualAudit:
    """One audit of what a store holds.

    Args:
        folder: the data folder.
        snapshot: what it held at a moment.
        opened: opens the sealed places of an example's stand-ins.
        question: what to look at.
        finders: more second detectors, beside the one that ships.

    Raises:
        RecollectError: SOURCE_UNKNOWN; INPUT_MALFORMED where there is nothing to look at.
    """

    def __init__(
        self,
        folder: Path,
        snapshot: Snapshot,
        opened: Callable[[str, bytes], Sequence[StandIn]],
        question: Question,
        finders: Sequence[Finder] = (),
    ) -> None:
        self._folder = folder
        self._snapshot = snapshot
        self._finders = (second_detector(), *finders)
        seed = secrets.randbits(_SEED_BITS) if question.seed is None else question.seed
        self._samples = draw_sample(
            _sizes(snapshot, question.sources),
            num_examples=question.num_examples,
            per_source=question.per_source,
            seed=seed,
        )
        if not self._samples:
            raise RecollectError(
                Reason.INPUT_MALFORMED,
                "there is nothing to look at: no example is stored.",
                where="sources",
                fix="Ingest something first; `recollect sources list` says what there is.",
            )
        self._tally = ResidualTally(self._finders, opened, seed)

    def steps(self) -> Iterator[Progress]:
        """Looks at the sample; progress after each example.

        Raises:
            RecollectError: STORAGE_CORRUPT.
        """
        num_all = sum(len(sample.rows) for sample in self._samples)
        num_done = 0
        for sample in self._samples:
            for of_whole, rows in _parts(sample):
                read = examples_at(self._folder, self._snapshot, sample.source, rows)
                for _, example in read:
                    self._tally.take(example, of_whole=of_whole)
                    num_done += 1
                    yield Progress(num_done, num_all)

    def outcome(self) -> Outcome:
        """What was found, once all steps are taken."""
        return self._tally.outcome(
            self._samples,
            snapshot_id=self._snapshot.snapshot_id,
            detectors=[finder.name for finder in self._finders],
        )


def _parts(sample: Sample) -> Iterator[tuple[bool, tuple[int, ...]]]:
    yield True, sample.rows[: sample.num_of_whole]
    yield False, sample.rows[sample.num_of_whole :]


def _sizes(snapshot: Snapshot, sources: Sequence[str]) -> Mapping[str, int]:
    for name in sources:
        if name not in snapshot.sources:
            raise unknown_source(name)
    wanted = set(sources) or set(snapshot.sources)
    return {name: s.num_examples for name, s in snapshot.sources.items() if name in wanted}


def audit_folder(folder: Path, question: Question, finders: Sequence[Finder] = ()) -> ResidualAudit:
    """An audit of a data folder as its ledger tells it, without a service and without its lock.

    Raises:
        RecollectError: INPUT_NOT_FOUND if the folder is none; LEDGER_CORRUPT; STORAGE_CORRUPT where
            the key of the surrogates is gone; as `ResidualAudit`.
    """
    snapshot, seal = _opened(folder)
    return ResidualAudit(folder, snapshot, seal.opened, question, finders)


def anonymity(
    folder: Path,
    k: int,
    sources: Sequence[str] = (),
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Anonymity:
    """How well the subjects of a data folder hide among one another.

    Reads every example: in a sample, whoever is not unique would seem so.

    Raises:
        RecollectError: as `audit_folder`.
    """
    from .privacy.residual.quasi import AnonymityTally

    snapshot, seal = _opened(folder)
    sizes = _sizes(snapshot, sources)
    num_all = sum(sizes.values())
    tally = AnonymityTally(seal.opened)
    num_done = 0
    for source in sizes:
        for manifest in snapshot.of(source):
            for example in read_examples(folder, manifest):
                tally.take(example)
                num_done += 1
                tell(num_done, num_all)
    return tally.outcome(k)


def _opened(folder: Path) -> tuple[Snapshot, PlaceSeal]:
    """What a data folder holds, as its ledger tells it, and what opens the places in it."""
    if not (folder / "ledger" / "ledger.jsonl").is_file():
        raise RecollectError(
            Reason.INPUT_NOT_FOUND,
            "this is no data folder: it holds no ledger",
            where=str(folder),
            fix="Name the data_folder of a service.",
        )
    holdings = Holdings()
    for entry in Ledger.read(folder / "ledger"):
        holdings.apply(entry)
    seal = PlaceSeal(secret_key(folder / "keys" / "surrogate.key", create=False))
    return holdings.snapshot(holdings.snapshot_id), seal
