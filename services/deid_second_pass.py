"""The second pass over a file: k subjects alike in what is left of them, or their rows are held.

How exactly somebody may be told of can be said only when everybody was read. Until then rows are
kept as drafts, sealed, since they hold what is perhaps not to be written. Both readings of them
take memory by subject, not by row or text.
"""

from __future__ import annotations

import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..mixer.errors import Reason, RecollectError
from .deid_draft import Draft
from .deid_rows import RowOptions, refusal
from .privacy.anonymity.classes import Ladder, Levels, Profile, as_they_are, recoded
from .privacy.anonymity.ladders import HEIGHTS, LEVELS, ladder
from .privacy.anonymity.options import ATTRIBUTES, NAMES, Below, KAnonymity
from .privacy.anonymity.seal import RowSeal

if TYPE_CHECKING:
    from .deid_files import Applied

_EXACT: Levels = (0,) * len(NAMES)
_NOBODY: Profile = ((),) * len(NAMES)


@dataclass(kw_only=True)
class Anonymised:
    """What the second pass did: counts and levels, nothing of anybody."""

    k: int
    below: str
    num_subjects: int = 0
    num_subjects_held: int = 0
    num_rows_held: int = 0
    num_rows_generalised: int = 0
    levels: dict[str, dict[str, int]] = field(default_factory=dict)
    """Attribute → level → served subjects of whom it is told so."""

    def to_body(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Drafts:
    """What the first pass left."""

    rows: Path
    """What `SecondPass.line` gave, a line each."""
    lost: Path
    """Rows that were quarantined, listed by number."""
    listed: Callable[[int, Mapping[str, Any]], bytes]
    """How such a row is listed: by its number, reason and message."""


class SecondPass:
    """Turns sealed drafts into the rows that may be written.

    Args:
        options: what is read and written, by a policy that says `k_anonymity`.

    Raises:
        RecollectError: CONFIG_INVALID where no field says whom a row is about.
    """

    def __init__(self, options: RowOptions, rule: KAnonymity) -> None:
        if options.subject is None:
            raise RecollectError(
                Reason.CONFIG_INVALID,
                "k-anonymity counts subjects, and no field says whom a row is about",
                where="--subject",
                fix="Name the field with --subject; a field that differs in every row says that "
                "each is about somebody else.",
            )
        self._rule = rule
        self._seal = RowSeal(options.key)

    def line(self, row: int, new: str) -> bytes:
        """A row's draft as it is kept until the second pass."""
        return f"{row} {self._seal.sealed(_bound(row), new)}\n".encode()

    def write(self, drafts: Drafts, target: Path, all_lost: Path, done: Applied) -> None:
        """Writes the rows that may be, and lists the others.

        Args:
            drafts: what the first pass left.
            target: where the rows go.
            all_lost: where the rows that were quarantined or held are listed, by number.
            done: the counts so far; they are brought up to date.
        """
        units = self._units(drafts.rows)
        told = Anonymised(k=self._rule.k, below=self._rule.below.value)
        levels = self._levels(units, told)
        with _fresh(target) as out, _fresh(all_lost) as held, drafts.lost.open("rb") as lost:
            listed = _Merged(lost, held, drafts.listed)
            for row, draft in self._drafts(drafts.rows):
                profile = units.get(_unit(row, draft), _NOBODY)
                chosen = levels.get(profile)
                if profile == _NOBODY and draft.subject is None:
                    chosen = _EXACT
                if chosen is None:
                    _hold(row, listed, done, told)
                    continue
                before = Counter(draft.row["findings"])
                told.num_rows_generalised += draft.finished(chosen, self._seal) > 0
                done.findings += Counter(draft.row["findings"]) - before
                out.write(json.dumps(draft.row, ensure_ascii=False).encode() + b"\n")
            listed.finish()
            for file in (out, held):
                file.flush()
                os.fsync(file.fileno())
        done.anonymity = told.to_body()

    def _drafts(self, path: Path) -> Iterator[tuple[int, Draft]]:
        with path.open("rb") as lines:
            for line in lines:
                number, sealed = line.decode().split()
                plain = self._seal.opened(_bound(int(number)), sealed)
                yield int(number), Draft(json.loads(plain))

    def _units(self, path: Path) -> dict[bytes, Profile]:
        """What is told of each subject, in all of its rows together; rows of nobody alone."""
        told: dict[bytes, set[tuple[int, Ladder]]] = defaultdict(set)
        for row, draft in self._drafts(path):
            of = told[_unit(row, draft)] if draft.subject or draft.left else set()
            for left in draft.left:
                rungs = ladder(left.entity_type, draft.value(left))
                if rungs[0]:
                    of.add((NAMES.index(ATTRIBUTES[left.entity_type]), rungs))
        known: dict[Profile, Profile] = {}
        units: dict[bytes, Profile] = {}
        while told:
            unit, values = told.popitem()
            profile = _profile(values)
            units[unit] = known.setdefault(profile, profile)
        return units

    def _levels(self, units: Mapping[bytes, Profile], told: Anonymised) -> dict[Profile, Levels]:
        weights: Counter[Profile] = Counter()
        for unit, profile in units.items():
            weights[profile] += _is_subject(unit)
        decide = recoded if self._rule.below is Below.GENERALISE else as_they_are
        levels = decide(weights, HEIGHTS, self._rule.k)
        told.num_subjects = sum(weights.values())
        told.num_subjects_held = sum(n for p, n in weights.items() if p not in levels)
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for profile, chosen in levels.items():
            for name, ladders, level in zip(NAMES, profile, chosen, strict=True):
                if ladders:
                    counts[name][LEVELS[name][level]] += weights[profile]
        told.levels = {
            name: {level: of[level] for level in LEVELS[name] if of[level]}
            for name, of in sorted(counts.items())
        }
        return levels


def _profile(values: set[tuple[int, Ladder]]) -> Profile:
    return tuple(
        tuple(sorted(rungs for index, rungs in values if index == number))
        for number in range(len(NAMES))
    )


def _bound(row: int) -> bytes:
    return f"draft {row}".encode()


def _unit(row: int, draft: Draft) -> bytes:
    return bytes.fromhex(draft.subject) if draft.subject else row.to_bytes(8, "big")


def _is_subject(unit: bytes) -> bool:
    return len(unit) > 8


def _hold(row: int, listed: _Merged, done: Applied, told: Anonymised) -> None:
    _, reason = refusal(
        RecollectError(
            Reason.BELOW_K, f"fewer than {told.k} subjects are alike in what is left of them"
        )
    )
    listed.add(row, reason)
    told.num_rows_held += 1
    done.num_written -= 1
    done.quarantined[reason["reason"]] += 1


class _Merged:
    """Lists what is held among what was listed before, by number of row."""

    def __init__(
        self, before: IO[bytes], held: IO[bytes], line: Callable[[int, Mapping[str, Any]], bytes]
    ) -> None:
        self._before = before
        self._line = line
        self._held = held
        self._next = before.readline()

    def add(self, row: int, reason: Mapping[str, Any]) -> None:
        """Lists a row behind all with smaller numbers."""
        while self._next and json.loads(self._next)["row"] < row:
            self._copy()
        self._held.write(self._line(row, reason))

    def finish(self) -> None:
        """Lists the rest."""
        while self._next:
            self._copy()

    def _copy(self) -> None:
        self._held.write(self._next)
        self._next = self._before.readline()


def _fresh(path: Path) -> IO[bytes]:
    """An empty file that its owner alone may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    return os.fdopen(descriptor, "wb")
