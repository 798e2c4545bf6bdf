"""Drafts: de-identified rows with what is left in them of their subjects, until all were read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .deid_rows import named
from .privacy.anonymity.ladders import shown
from .privacy.anonymity.options import ATTRIBUTES, NAMES
from .privacy.anonymity.seal import RowSeal, bound_to
from .privacy.policy import Operator, Policy

if TYPE_CHECKING:
    from .privacy import Preview, Replacement
    from .privacy.anonymity.classes import Levels

Path = Sequence[Any]
"""Where in a row a text stands: its field, or field, turn and field."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Left:
    """Something that is left of a subject: characters of one of a row's texts."""

    text: int
    start: int
    end: int
    entity_type: str
    span: int | None
    """The span of the row that tells of it already."""
    new_span: Mapping[str, Any] | None
    """The span that is to tell of it once it is generalised."""


class DraftMaker:
    """Makes the draft of a row, in the process that de-identified it."""

    def __init__(self, policy: Policy, attributes: tuple[str, ...], *, spans: bool) -> None:
        from .privacy.anonymity.remains import RemainsFinder

        self._policy = policy
        self._attributes = attributes
        self._spans = spans
        self._finder = RemainsFinder()

    def draft(
        self,
        row: Mapping[str, Any],
        paths: Sequence[Path],
        names: Sequence[Mapping[str, str]],
        previews: Sequence[Preview],
        subject: str | None,
    ) -> dict[str, Any]:
        """The draft as plain data.

        Args:
            row: as it would be written.
            paths: where its texts stand.
            names: of each text what its spans say of where it stands.
            previews: its texts before and after.
            subject: pseudonym of whom it is about.

        Raises:
            RecollectError: DEIDENTIFICATION_FAILED.
        """
        left: list[list[Any]] = []
        stand_ins: list[tuple[int, int, int]] = []
        num_spans = 0
        for number, preview in enumerate(previews):
            placed = list(_placed(preview.replacements))
            for start, end, replaced in placed:
                kind = replaced.finding.entity_type
                if self._is_told(replaced):
                    span = num_spans if self._spans else None
                    left.append([number, start, end, kind, span, None])
                elif start < end:
                    stand_ins.append((number, start, end))
                num_spans += 1
            left += self._found(number, preview.text, placed, names[number])
        counted = [one for one in left if ATTRIBUTES[one[3]] in self._attributes]
        return {
            "row": row,
            "paths": [list(path) for path in paths],
            "subject": subject,
            "left": sorted(counted, key=lambda one: (one[0], one[1])),
            "stand_ins": stand_ins,
        }

    def _is_told(self, replaced: Replacement) -> bool:
        kind = replaced.finding.entity_type
        is_general = self._policy.operator(kind) is Operator.GENERALISE
        return kind in ATTRIBUTES and is_general and replaced.surrogate != f"[{kind}]"

    def _found(
        self,
        number: int,
        text: str,
        placed: Sequence[tuple[int, int, Replacement]],
        name: Mapping[str, str],
    ) -> Iterator[list[Any]]:
        taken = [(start, end) for start, end, _ in placed]
        for found in self._finder.find(text, taken):
            before = [one for one in placed if one[1] <= found.start]
            # The end of the last replacement before it, in the text that went in and came out.
            shift = before[-1][1] - before[-1][2].finding.end if before else 0
            span = {
                **name,
                "start": found.start - shift,
                "end": found.end - shift,
                "class": found.entity_type,
                "score": found.score,
                "stage": found.stage,
            }
            extra = span if self._spans else None
            yield [number, found.start, found.end, found.entity_type, None, extra]


def _placed(replacements: Sequence[Replacement]) -> Iterator[tuple[int, int, Replacement]]:
    """Where replacements are in the text that comes out."""
    shift = 0
    for replaced in replacements:
        start = replaced.finding.start + shift
        shift += len(replaced.surrogate) - len(replaced.finding)
        yield start, start + len(replaced.surrogate), replaced


class Draft:
    """A draft that was read again."""

    def __init__(self, plain: Mapping[str, Any]) -> None:
        self.row: dict[str, Any] = plain["row"]
        self.subject: str | None = plain["subject"]
        names = ("text", "start", "end", "entity_type", "span", "new_span")
        self.left = [Left(**dict(zip(names, one, strict=True))) for one in plain["left"]]
        self._paths: list[Path] = plain["paths"]
        self._stand_ins: list[list[int]] = plain["stand_ins"]

    def value(self, left: Left) -> str:
        """What is left, as it stands in the text."""
        return _text_at(self.row, self._paths[left.text])[left.start : left.end]

    def finished(self, levels: Levels, seal: RowSeal) -> int:
        """Generalises what is left and seals whom the row is about and where its stand-ins are.

        Returns:
            How many values are told less exactly than before.
        """
        num_changed = 0
        stand_ins: list[tuple[int, int, int]] = []
        told: list[tuple[int, int, int, str]] = []
        for number, path in enumerate(self._paths):
            text = _text_at(self.row, path)
            new, end, shifts = "", 0, [(0, 0)]
            for left in (one for one in self.left if one.text == number):
                value = text[left.start : left.end]
                level = levels[NAMES.index(ATTRIBUTES[left.entity_type])]
                general = shown(left.entity_type, value, level)
                new += text[end : left.start]
                told.append((number, len(new), len(new) + len(general), left.entity_type))
                new, end = new + general, left.end
                shifts.append((left.end, len(new) - left.end))
                if general != value:
                    num_changed += 1
                    self._tell(left, general)
            _put_text(self.row, path, new + text[end:])
            for _, start, stop in (one for one in self._stand_ins if one[0] == number):
                shift = next(by for since, by in reversed(shifts) if since <= start)
                stand_ins.append((number, start + shift, stop + shift))
        if "spans" in self.row:
            fields = [named(path).get("field") for path in self._paths]
            self.row["spans"].sort(key=lambda one: (fields.index(one.get("field")), one["start"]))
        about = {"subject": self.subject, "stand_ins": stand_ins, "left": told}
        bound = bound_to([_text_at(self.row, path) for path in self._paths])
        self.row["findings"] = dict(sorted(self.row["findings"].items()))
        self.row["sealed"] = seal.sealed(bound, about)
        return num_changed

    def _tell(self, left: Left, general: str) -> None:
        """Says in the row what was generalised."""
        if left.span is not None:
            self.row["spans"][left.span]["surrogate"] = general
            return
        if left.new_span is not None:
            self.row["spans"].append({**left.new_span, "surrogate": general})
        counts = self.row["findings"]
        if left.new_span is not None or "spans" not in self.row:
            counts[left.entity_type] = counts.get(left.entity_type, 0) + 1


def _text_at(row: Mapping[str, Any], path: Path) -> str:
    value: Any = row
    for part in path:
        value = value[part]
    return str(value)


def _put_text(row: dict[str, Any], path: Path, text: str) -> None:
    value: Any = row
    for part in path[:-1]:
        value = value[part]
    value[path[-1]] = text
