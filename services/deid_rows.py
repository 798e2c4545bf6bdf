"""De-identifies one row: text replaced by name of field, everything else left behind.

A row is read, its texts are de-identified, and it is written again. What lies between the first and
the last may run here or in a service.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..mixer.errors import Reason, RecollectError
from .intake.columns import leaves
from .policy_version import PolicyVersion
from .privacy import Policy
from .secret import key_id

if TYPE_CHECKING:
    from .deid_draft import DraftMaker
    from .privacy import Replacement

_DIALOGUES = ("messages", "turns", "conversations")
_CONTENTS = ("content", "value", "text")
_ID_DIGITS = 12


def short_key_id(key: str) -> str:
    """The id of a key as rows have it."""
    return key[:_ID_DIGITS]


@dataclass(frozen=True, kw_only=True, slots=True)
class RowLayout:
    """What of a row is read, and what is written, whoever de-identifies it."""

    fields: tuple[str, ...] = ("text",)
    """Fields whose text is replaced; of dialogues, `messages` or `turns`, each content."""
    keep: tuple[str, ...] = ("id",)
    """Fields that are copied as they are."""
    identifiers: tuple[str, ...] = ()
    """Fields that name the row's person or account: their values are looked for in its text."""
    subject: str | None = None
    """Field that names whom a row is about: dates and ages of one subject are moved alike."""
    spans: bool = False
    """Whether to write where in the input what was found."""

    @property
    def layout_id(self) -> str:
        """12 hex digits: equal where the same fields are read and written."""
        return self.digest_with("layout")[:_ID_DIGITS]

    def digest_with(self, *parts: str) -> str:
        """Equal digest, equal output; the parts stand for what de-identifies."""
        read = [self.fields, self.keep, self.identifiers, self.subject, self.spans]
        return hashlib.sha256(json.dumps([*parts, *read]).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class RowOptions(RowLayout):
    """What of a row is read and written, and by which policy and key."""

    policy: Policy
    key: bytes
    draft: bool = False
    """Whether to write drafts, with what is left of their subjects, for a second pass."""

    @property
    def digest(self) -> str:
        """Equal digest, equal output."""
        key = hashlib.sha256(b"rows\x00" + self.key).hexdigest()
        return self.digest_with(self.policy.fingerprint, key)

    @property
    def key_id(self) -> str:
        """Stands for the key: equal under the same key, here and in a service."""
        return key_id(self.key)


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenRow:
    """A row that was read, and what of it is to be de-identified: raw text."""

    row: Mapping[str, Any]
    places: Sequence[tuple[Place, str]]
    """Where text stands, and the text."""
    known: Sequence[str]
    subject: str | None

    @property
    def texts(self) -> list[str]:
        """The texts, in order."""
        return [text for _, text in self.places]


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """What became of one text of a row."""

    text: str
    spans: Sequence[Mapping[str, Any]]
    """As they are written: start, end, class, score, stage, surrogate."""


class RowDeidentifier:
    """Turns a line of JSON into another, or into a reason why not."""

    def __init__(self, options: RowOptions) -> None:
        # Here, since whoever only reads and writes rows need not wait for Presidio.
        from .privacy import Deidentifier

        self._options = options
        policy = options.policy.alone if options.draft else options.policy
        self._deidentifier = Deidentifier(policy, options.key)
        self._drafts = _draft_maker(options)
        self._deidentifier.prove()

    def answers(self, lines: Sequence[bytes]) -> list[Answer]:
        """An answer for each line; a policy's verifier may read them together."""
        if self._options.policy.verifier is not None:
            self._deidentifier.read_ahead(self._texts_of(lines))
        return [self(line) for line in lines]

    def _texts_of(self, lines: Sequence[bytes]) -> Iterator[list[str]]:
        for line in lines:
            # Why a line cannot be read is told when it is its turn.
            with suppress(RecollectError):
                yield opened_row(read_row(line), self._options).texts

    def __call__(self, line: bytes) -> Answer:
        """(the line to write, findings by type), or (None, reason and message)."""
        try:
            new, counts = self.replaced(read_row(line))
            written = written_row(new)
        except RecollectError as error:
            return refusal(error)
        return written, counts

    def replaced(self, row: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, int]]:
        """The row to write, and findings by type.

        Raises:
            RecollectError: as `opened_row`, and what `Deidentifier.explain` raises.
        """
        opened = opened_row(row, self._options)
        previews = self._deidentifier.explain(opened.texts, opened.known, opened.subject)
        parts = [
            Part(text=p.text, spans=[_span(replaced) for replaced in p.replacements])
            for p in previews
        ]
        counts = Counter(span["class"] for part in parts for span in part.spans)
        policy = PolicyVersion.of(self._options.policy)
        key = self._options.key_id
        new = closed_row(opened, self._options, parts, counts, policy, key)
        if self._drafts is not None:
            subject = opened.subject and self._deidentifier.pseudonym(opened.subject)
            paths = [path for path, _ in opened.places]
            names = [named(path) for path in paths]
            new = self._drafts.draft(new, paths, names, previews, subject or None)
        return new, dict(counts)


def _draft_maker(options: RowOptions) -> DraftMaker | None:
    rule = options.policy.k_anonymity
    if rule is None or not options.draft:
        return None
    from .deid_draft import DraftMaker

    return DraftMaker(options.policy, rule.attributes, spans=options.spans)


def read_row(line: bytes) -> Mapping[str, Any]:
    """The row of a line.

    Raises:
        RecollectError: INPUT_ENCODING, INPUT_MALFORMED.
    """
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise RecollectError(Reason.INPUT_ENCODING, "the row is not UTF-8") from None
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        raise RecollectError(Reason.INPUT_MALFORMED, "the row is no JSON") from None
    if not isinstance(row, dict):
        raise RecollectError(Reason.INPUT_MALFORMED, "the row is no JSON object")
    return row


def opened_row(row: Mapping[str, Any], layout: RowLayout) -> OpenRow:
    """What of a row is to be de-identified.

    Raises:
        RecollectError: INPUT_EMPTY or INPUT_MALFORMED where it holds no text; INPUT_ENCODING.
    """
    places = list(_texts(row, layout.fields))
    if not places:
        raise RecollectError(
            Reason.INPUT_EMPTY, f"none of the fields {', '.join(layout.fields)} holds text"
        )
    subject = row.get(layout.subject) if layout.subject else None
    opened = OpenRow(
        row=row,
        places=places,
        known=[value for name in layout.identifiers for value in leaves(row.get(name))],
        subject=str(subject) if subject else None,
    )
    try:
        for text in (*opened.texts, *opened.known, opened.subject or ""):
            text.encode()
    except UnicodeEncodeError:
        # JSON can spell half of a character, which no text holds.
        raise RecollectError(
            Reason.INPUT_ENCODING, "a text of the row cannot be written as UTF-8"
        ) from None
    return opened


def closed_row(
    opened: OpenRow,
    layout: RowLayout,
    parts: Sequence[Part],
    findings: Mapping[str, int],
    policy: PolicyVersion,
    key: str,
) -> dict[str, Any]:
    """The row to write.

    Args:
        opened: the row that was read.
        layout: what of it is written.
        parts: what became of each of its texts.
        findings: how many were replaced, by type.
        policy: what made it.
        key: id of the key that its stand-ins are drawn under.
    """
    row = opened.row
    new: dict[str, Any] = {name: row[name] for name in layout.keep if name in row}
    spans = []
    for (path, _), part in zip(opened.places, parts, strict=True):
        _put(new, row, path, part.text)
        where = named(path)
        spans += [{**where, **span} for span in part.spans]
    if layout.spans:
        new["spans"] = spans
    new["findings"] = dict(sorted(findings.items()))
    new["policy"] = str(policy)
    new["key"] = short_key_id(key)
    return new


def refusal(error: RecollectError) -> Answer:
    """The answer for a row that comes to nothing."""
    told = {"reason": error.reason.name, "where": error.where or "", "message": error.message}
    return None, told


def _span(replaced: Replacement) -> dict[str, Any]:
    found = replaced.finding
    return {
        "start": found.start,
        "end": found.end,
        "class": found.entity_type,
        "score": found.score,
        "stage": found.stage,
        "surrogate": replaced.surrogate,
    }


Place = tuple[Any, ...]
Answer = tuple[str | None, dict[str, Any]]
"""The line to write and findings by type; or None, with reason and message."""
Answered = tuple[list[bytes], list[Answer]]
"""Lines, and the answer for each of them."""


def written_row(row: Mapping[str, Any]) -> str:
    """The row as a line of JSON in UTF-8.

    Raises:
        RecollectError: INPUT_ENCODING.
    """
    try:
        line = json.dumps(row, ensure_ascii=False)
        line.encode()
    except (UnicodeEncodeError, RecursionError):
        raise RecollectError(
            Reason.INPUT_ENCODING, "a field that is kept cannot be written as UTF-8"
        ) from None
    return line


_ROLES = ("role", "from", "speaker")
_KNOWN_TEXT = """
user assistant system developer tool function agent human gpt bot chatbot model customer client
operator support advisor representative seller buyer caller callee patient doctor teacher student
prompter observation context a b 1 2
"""
_KNOWN_ROLES = frozenset(_KNOWN_TEXT.split())


def _texts(row: Mapping[str, Any], fields: Sequence[str]) -> Iterator[tuple[Place, str]]:
    """Where text stands in a row, and the text."""
    found = False
    for name in fields:
        if isinstance(row.get(name), str):
            found = True
            yield (name,), row[name]
    if found:
        return
    for name in _DIALOGUES:
        turns = row.get(name)
        if not isinstance(turns, list):
            continue
        for number, turn in enumerate(turns):
            key = next((k for k in _CONTENTS if isinstance(turn, dict) and k in turn), None)
            if key is None or not isinstance(turn[key], str):
                raise RecollectError(
                    Reason.INPUT_MALFORMED, "a turn holds no text", where=f"{name}[{number}]"
                )
            yield (name, number, key), turn[key]
            for role in _ROLES:
                # "Dr. Anna Schmidt" in place of "user": it is text like any other.
                if isinstance(turn.get(role), str) and turn[role].lower() not in _KNOWN_ROLES:
                    yield (name, number, role), turn[role]
        return


def _put(new: dict[str, Any], row: Mapping[str, Any], path: Place, text: str) -> None:
    if len(path) == 1:
        new[path[0]] = text
        return
    name, number, key = path
    turns = new.setdefault(name, [])
    if number < len(turns):
        turns[number][key] = text
        return
    old = row[name][number]
    # A role is one of a few words, or comes as a text of its own; what else a turn holds nobody
    # looked at.
    role = {k: old[k] for k in _ROLES if str(old.get(k)).lower() in _KNOWN_ROLES}
    turns.append({**role, key: text})


def named(path: Sequence[Any]) -> dict[str, str]:
    """What a span says of where its text stands."""
    return {"field": _spelled(path)} if tuple(path) != ("text",) else {}


def _spelled(path: Sequence[Any]) -> str:
    return str(path[0]) if len(path) == 1 else f"{path[0]}[{path[1]}].{path[2]}"
