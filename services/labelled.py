"""Examines a data folder with labelled, invented rows: what is missed, and what lies there raw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ..mixer.errors import Reason, RecollectError
from .privacy import Deidentifier, Policy, missed, scan_bytes

_SHORTEST = 5
"""A shorter value, such as a first name, occurs by chance: finding it proves nothing."""
_ANY_KEY = bytes(32)
"""Where the folder has no key: what is found does not depend on it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Examination:
    """What was measured."""

    num_spans: Mapping[str, int]
    """Labelled spans by type."""
    num_missed: Mapping[str, int]
    """Those of them that survive."""
    recall: Mapping[str, float]
    missed: Sequence[tuple[str, str, str]]
    """(row id, type, text) of each span that survives."""
    num_values: int
    """Detected values that were looked for in the folder."""
    leaks: Sequence[str]
    """Where a detected value lies raw: type, file and form."""


class _Span(BaseModel):
    entity_type: str
    start: int
    end: int


class _Row(BaseModel):
    id: str | int
    text: str
    spans: list[_Span]


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(path, type(error).__name__) from None
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            if line.strip():
                rows.append(_Row.model_validate_json(line).model_dump())
        except ValidationError as error:
            raise _unusable(
                f"{path}:{number}", error.errors(include_input=False)[0]["msg"]
            ) from None
    return rows


def _unusable(where: Path | str, why: str) -> RecollectError:
    return RecollectError(
        Reason.INPUT_MALFORMED,
        f"the labelled rows cannot be read ({why})",
        where=str(where),
        fix='Each line needs "id", "text" and "spans", each with entity_type, start and end.',
    )


def _is_telling(kind: str, value: str) -> bool:
    """Whether finding the value in a file would prove that it was written there raw."""
    if kind == "PERSON":
        # A single name may be another person's surrogate.
        return " " in value.strip()
    return len(value) >= _SHORTEST


def examine(folder: Path, labelled: Path, policy: Policy) -> Examination:
    """Measures a policy on labelled rows and scans the folder that they went into.

    Args:
        folder: data folder of a service that has ingested the texts.
        labelled: JSONL of `{"id", "text", "spans": [{"entity_type", "start", "end"}]}`; invented
            data only, since what is missed is shown.
        policy: the de-identification policy.

    Raises:
        RecollectError: INPUT_NOT_FOUND if the folder is none; INPUT_MALFORMED for the rows.
    """
    if not (folder / "ledger" / "ledger.jsonl").is_file():
        raise RecollectError(
            Reason.INPUT_NOT_FOUND,
            "this is no data folder: it holds no ledger",
            where=str(folder),
            fix="Name the data_folder of a service.",
        )
    rows = _rows(labelled)
    key = folder / "keys" / "surrogate.key"
    deidentifier = Deidentifier(policy, key.read_bytes() if key.is_file() else _ANY_KEY)
    overlooked = missed(rows, deidentifier)
    replacements = [r for row in rows for r in deidentifier.preview(str(row["text"])).replacements]
    # A surrogate comes from the ranges reserved for examples, as invented values do: one that is by
    # chance another row's invented value is no leak.
    surrogates = "\n".join(r.surrogate for r in replacements).lower()
    values = {
        r.original: r.finding.entity_type
        for r in replacements
        if _is_telling(r.finding.entity_type, r.original) and r.original.lower() not in surrogates
    }
    originals = list(values)
    return Examination(
        num_spans=dict(sorted(overlooked.num_spans.items())),
        num_missed=dict(sorted(overlooked.num_missed.items())),
        recall=overlooked.recall(),
        missed=overlooked.spans,
        num_values=len(originals),
        leaks=[
            f"{values[originals[leak.value]]} in {leak.file} ({leak.form})"
            for leak in scan_bytes(folder, originals)
        ],
    )
