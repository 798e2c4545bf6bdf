"""The work of DeidService: records of the wire contract in, their results out, piece by piece.

A piece is small, so that calls take turns; and one that is cancelled ends within it, at the next
pattern, since a single record may be a megabyte.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..mixer.errors import Reason, RecollectError
from ..mixer.example import Speaker
from ..v1 import deid_pb2 as wire
from ..v1.store_pb2 import FindingCount
from .deid_limits import (
    LONGEST_ID,
    LONGEST_NAME,
    MOST_CHARACTERS,
    MOST_KNOWN_VALUES,
    MOST_MESSAGES,
    MOST_RESULT_BYTES,
)
from .privacy import Deidentifier, Preview, Replacement
from .privacy.deadline import unless

_PIECE_RECORDS = 32
_PIECE_CHARACTERS = 1 << 16
_PIECE_BYTES = 1 << 19
_SPEAKERS = frozenset(speaker.value for speaker in Speaker)


@dataclass(slots=True)
class Tally:
    """What a call has done so far."""

    num_records: int = 0
    num_characters: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Records by reason."""

    def summary(self) -> wire.DeidentifySummary:
        """As the last answer tells it."""
        return wire.DeidentifySummary(
            num_records=self.num_records,
            num_refused=self.refused.total(),
            num_characters=self.num_characters,
        )


def work_on(
    engine: Deidentifier,
    records: Sequence[wire.RawRecord],
    first: int,
    *,
    with_spans: bool,
    tally: Tally,
    is_given_up: Callable[[], bool],
) -> wire.RecordResults:
    """Results of the records from the first on: one at least, and as many as make a piece.

    Raises:
        GivenUp: nobody waits for them any more, even in the middle of a record.
    """
    with unless(is_given_up):
        return _piece(engine, records, first, with_spans=with_spans, tally=tally)


def _piece(
    engine: Deidentifier,
    records: Sequence[wire.RawRecord],
    first: int,
    *,
    with_spans: bool,
    tally: Tally,
) -> wire.RecordResults:
    results = wire.RecordResults()
    num_characters = num_bytes = 0
    for record in records[first : first + _PIECE_RECORDS]:
        length = sum(len(message.content) for message in record.messages)
        num_characters += length
        result = _result(engine, record, length, with_spans=with_spans)
        tally.num_records += 1
        tally.num_characters += length
        if result.HasField("refused"):
            tally.refused[result.refused.reason] += 1
        results.results.append(result)
        num_bytes += result.ByteSize()
        if num_characters >= _PIECE_CHARACTERS or num_bytes >= _PIECE_BYTES:
            break
    return results


def _result(
    engine: Deidentifier, record: wire.RawRecord, length: int, *, with_spans: bool
) -> wire.RecordResult:
    """What became of one record; whatever is wrong with it concerns no other."""
    try:
        _require_bounds(record, length)
        contents = [message.content for message in record.messages]
        known, subject = list(record.known_values), record.subject or None
        previews = engine.explain(contents, known, subject)
        result = wire.RecordResult(
            id=record.id, deidentified=_to_wire(record, previews, with_spans=with_spans)
        )
        if result.ByteSize() > MOST_RESULT_BYTES:
            raise RecollectError(
                Reason.INPUT_TOO_LARGE, f"its result would take {result.ByteSize():,} bytes"
            )
    except RecollectError as error:
        refused = wire.RefusedRecord(
            reason=error.reason.name, message=error.message, where=error.where
        )
        return wire.RecordResult(id=record.id[:LONGEST_ID], refused=refused)
    return result


def _require_bounds(record: wire.RawRecord, length: int) -> None:
    if not record.messages:
        raise RecollectError(Reason.INPUT_MALFORMED, "the record has no messages")
    names = [*record.known_values, record.subject]
    bounds = (
        (length, MOST_CHARACTERS, "characters", "messages"),
        (len(record.messages), MOST_MESSAGES, "messages", "messages"),
        (len(record.id), LONGEST_ID, "characters", "id"),
        (len(record.known_values), MOST_KNOWN_VALUES, "known values", "known_values"),
        (max(map(len, names)), LONGEST_NAME, "characters", "known_values or subject"),
    )
    for number, most, what, where in bounds:
        if number > most:
            raise RecollectError(
                Reason.INPUT_TOO_LARGE,
                f"{number:,} {what}, where at most {most:,} fit",
                where=where,
            )
    for number, message in enumerate(record.messages):
        if message.speaker not in _SPEAKERS:
            raise RecollectError(
                Reason.INPUT_UNKNOWN_SPEAKER,
                f"a speaker is none of {', '.join(sorted(_SPEAKERS))}",
                where=f"messages[{number}]",
            )


def _to_wire(
    record: wire.RawRecord, previews: Sequence[Preview], *, with_spans: bool
) -> wire.DeidentifiedRecord:
    counts = Counter(r.finding.entity_type for p in previews for r in p.replacements)
    return wire.DeidentifiedRecord(
        messages=[
            wire.DeidentifiedMessage(
                speaker=message.speaker,
                content=preview.text,
                spans=[_span(replaced) for replaced in preview.replacements] if with_spans else (),
            )
            for message, preview in zip(record.messages, previews, strict=True)
        ],
        findings=[
            FindingCount(entity_type=kind, count=count) for kind, count in sorted(counts.items())
        ],
    )


def _span(replaced: Replacement) -> wire.Span:
    found = replaced.finding
    return wire.Span(
        start=found.start,
        end=found.end,
        entity_type=found.entity_type,
        score=found.score,
        stage=found.stage,
        surrogate=replaced.surrogate,
    )
