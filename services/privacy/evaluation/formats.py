"""Labelled text in the layouts that people have: spans, Presidio's, CoNLL, standoff."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....mixer.errors import Reason, RecollectError

_FIX = (
    'Give JSONL of {"text", "spans": [{"entity_type", "start", "end"}]}, '
    "Presidio's research JSON, "
    "the JSON of the Text Anonymization Benchmark, or CoNLL/IOB lines of a token and its tag."
)
_QUASI_TEXT = """
AGE DATE DATE_TIME DEM DEMOGRAPHIC DURATION GPE LOC LOCATION MISC MONEY NATIONALITY NORP NRP ORG
ORGANIZATION ORGANISATION PERCENT QTY QUANTITY TIME TITLE JOB OCCUPATION PROFESSION CITY COUNTRY
STATE FACILITY FAC EVENT
"""
_QUASI_TYPES = frozenset(_QUASI_TEXT.split())
_UNSPACED_BEFORE = frozenset(",.;:!?)]}%'’") | {"'s", "n't", "'m", "'re", "'ve", "'ll", "'d"}
_UNSPACED_AFTER = frozenset("([{$#@")


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledSpan:
    """One mention: characters `start` up to `end` of the text."""

    entity_type: str
    start: int
    end: int
    entity_id: str | None = None
    """Mentions of one id are one entity; a mention without id is an entity of its own."""
    identifier: str = ""
    """`direct`, `quasi`, or `none` where the annotators would not mask it; by its type, if a file
    does not say: places, bodies, times, amounts and what people are identify only together."""

    def __post_init__(self) -> None:
        if not self.identifier:
            quasi = self.entity_type.upper() in _QUASI_TYPES
            object.__setattr__(self, "identifier", "quasi" if quasi else "direct")


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledText:
    """A text and its mentions."""

    text_id: str
    text: str
    spans: tuple[LabelledSpan, ...]


def read_labelled(path: Path) -> list[LabelledText]:
    """The texts of a file, whose layout is told by its content; gzip is read as well.

    Raises:
        RecollectError: INPUT_NOT_FOUND, or INPUT_MALFORMED with the place that cannot be read.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise RecollectError(
            Reason.INPUT_NOT_FOUND,
            f"the file cannot be read ({type(error).__name__})",
            where=str(path),
            fix="Name a file of labelled text.",
        ) from None
    try:
        text = (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise _malformed(str(path), type(error).__name__) from None
    found = list(_texts(text, path))
    if not found:
        raise _malformed(str(path), "it holds no text")
    return found


def _texts(text: str, path: Path) -> Iterator[LabelledText]:
    start = text.lstrip()[:1]
    if start == "[":
        try:
            rows = json.loads(text)
        except json.JSONDecodeError as error:
            raise _malformed(f"{path}:{error.lineno}", error.msg) from None
        for number, row in enumerate(rows):
            yield _row(row, f"{path}[{number}]", str(number))
    elif start == "{":
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError as error:
                    raise _malformed(f"{path}:{number}", error.msg) from None
                yield _row(row, f"{path}:{number}", str(number))
    else:
        yield from _conll(text, path)


def _row(row: Any, where: str, default_id: str) -> LabelledText:
    try:
        if "annotations" in row:
            spans = _standoff(row["annotations"])
            text = row["text"]
        elif "full_text" in row:
            text = row["full_text"]
            spans = [
                LabelledSpan(
                    entity_type=str(s["entity_type"]),
                    start=int(s["start_position"]),
                    end=int(s["end_position"]),
                )
                for s in row["spans"]
            ]
        else:
            text = row["text"]
            spans = [_span(s) for s in row["spans"]]
        if not isinstance(text, str):
            raise TypeError
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _malformed(where, f"{type(error).__name__} {error}".strip()) from None
    for span in spans:
        if not 0 <= span.start < span.end <= len(text):
            raise _malformed(
                where, f"the span {span.start} to {span.end} is not within {len(text)} characters"
            )
    text_id = str(row.get("id", row.get("doc_id", default_id)))
    return LabelledText(text_id=text_id, text=text, spans=tuple(spans))


def _span(span: Mapping[str, Any]) -> LabelledSpan:
    return LabelledSpan(
        entity_type=str(span.get("entity_type", span.get("label"))),
        start=int(span["start"]),
        end=int(span["end"]),
        entity_id=None if span.get("entity_id") is None else str(span["entity_id"]),
        identifier=str(span.get("identifier", "")).lower(),
    )


def _standoff(annotations: Mapping[str, Any]) -> list[LabelledSpan]:
    """Every annotator's mentions: what one would mask must be masked (Pilán et al. 2022)."""
    kinds = {"DIRECT": "direct", "QUASI": "quasi"}
    return [
        LabelledSpan(
            entity_type=str(m["entity_type"]),
            start=int(m["start_offset"]),
            end=int(m["end_offset"]),
            entity_id=f"{annotator}/{m['entity_id']}",
            identifier=kinds.get(str(m["identifier_type"]), "none"),
        )
        for annotator, one in annotations.items()
        for m in one["entity_mentions"]
    ]


def _conll(text: str, path: Path) -> Iterator[LabelledText]:
    sentence: list[tuple[str, str]] = []
    number = 0
    for line_number, line in enumerate([*text.splitlines(), ""], start=1):
        parts = line.split()
        if not parts:
            if sentence:
                number += 1
                yield _sentence(sentence, str(number))
            sentence = []
            continue
        if parts[0] == "-DOCSTART-":
            continue
        if len(parts) < 2:
            # An empty token with a tag: sets of tweets have them.
            continue
        tag = parts[-1]
        if tag != "O" and tag[:2] not in {"B-", "I-", "E-", "S-", "L-", "U-"}:
            raise _malformed(f"{path}:{line_number}", "the last column holds no IOB tag")
        sentence.append((parts[0], tag))


def _sentence(tokens: Iterable[tuple[str, str]], text_id: str) -> LabelledText:
    text = ""
    spans: list[tuple[str, int, int]] = []
    before, current = "(", None
    for token, tag in tokens:
        glued = not text or token in _UNSPACED_BEFORE or before in _UNSPACED_AFTER
        start = len(text) + (not glued)
        text = text + ("" if glued else " ") + token
        prefix, _, kind = tag.partition("-")
        goes_on = current is not None and prefix in {"I", "E", "L"} and spans[-1][0] == kind
        if kind and goes_on:
            spans[-1] = (kind, spans[-1][1], len(text))
        elif kind:
            spans.append((kind, start, len(text)))
        current = kind or None
        before = token
    found = tuple(LabelledSpan(entity_type=k, start=s, end=e) for k, s, e in spans)
    return LabelledText(text_id=text_id, text=text, spans=found)


def _malformed(where: str, why: str) -> RecollectError:
    return RecollectError(
        Reason.INPUT_MALFORMED, f"labelled text cannot be read ({why})", where=where, fix=_FIX
    )
