"""Deidentifier: the face of this room. Raw messages in, messages with surrogates out, or an error.

Everything happens in memory. All messages of an example are read as one text, so that a question
("your order number?") is context for its answer, and one person keeps one stand-in throughout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from hashlib import sha256

from ...mixer.errors import Reason, RecollectError
from ...mixer.example import Message, Speaker
from .arithmetic import is_arithmetic
from .bridges import bridged, whole_codes, with_first_names, with_lead_ins
from .deadline import keep_to_deadline, step_ran_out, text_deadline, uncounted
from .detector import Detector
from .filename import end_of_stem, readings, words
from .finding import Finding, settle, split_at, trim
from .known import find_known
from .occurrences import must_vanish, occurrences, survivors, with_titles
from .operators import replacement
from .policy import Operator, Policy
from .quasi_patterns import is_about_somebody
from .replacing import SEPARATOR, Replacement, joined, kinds_of, with_replacements
from .shadow import shadow_of
from .standin_places import PlaceSeal, StandIn, places
from .surrogates import Surrogates, normalise
from .tagging import shipped_tagger
from .verifier import Verifier

_MAX_NAME_CHARACTERS = 255
_MIN_KEY_BYTES = 16
_SURE = 0.95
_READERS = frozenset({"tagger", "verifier"})
_CUT = "\N{NULL}"
_FORMS_OF_ADDRESS = frozenset(
    {"madam", "sir", "ma'am", "maam", "mam", "mr", "mrs", "ms", "miss", "bro", "dude", "dear"}
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Deidentified:
    """What may be stored of an example."""

    messages: tuple[Message, ...]
    findings: tuple[tuple[str, int], ...]
    """(entity type, how many were replaced), sorted by type."""
    stand_ins: tuple[StandIn, ...]
    """Where in the messages the stand-ins are; stored sealed only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Preview:
    """A text before and after, for showing invented data to people."""

    text: str
    replacements: tuple[Replacement, ...]


class Deidentifier:
    """Replaces identifiers by surrogates under one policy and one key.

    Args:
        policy: what is replaced, and by what.
        key: of the surrogates, at least 16 bytes.
        without: stages of the cascade to leave out, to measure what each brings.
    """

    def __init__(self, policy: Policy, key: bytes, without: frozenset[str] = frozenset()) -> None:
        if len(key) < _MIN_KEY_BYTES:
            raise RecollectError(
                Reason.CONFIG_INVALID,
                f"The key has {len(key)} bytes; at least {_MIN_KEY_BYTES} are needed.",
                fix="Make one with `openssl rand -hex 32` and keep it away from the data.",
            )
        if policy.k_anonymity is not None:
            raise RecollectError(
                Reason.POLICY_INVALID,
                "how many are alike cannot be said of one record at a time",
                where="policy.k_anonymity",
                fix="Use `recollect deid apply`, which reads a file twice; ingest what it wrote.",
            )
        self.policy = policy
        self._without = without
        self._key = key
        self._surrogates = Surrogates(key)

    @cached_property
    def _detector(self) -> Detector:
        return Detector(self.policy, without=self._without)

    @cached_property
    def place_seal(self) -> PlaceSeal:
        """Seals where the stand-ins of an example are, under the same key."""
        return PlaceSeal(self._key)

    @cached_property
    def _verifier(self) -> Verifier | None:
        options = self.policy.verifier
        if options is None or "verifier" in self._without:
            return None
        return Verifier.load(options, self.policy.entities)

    @property
    def recognizers(self) -> tuple[str, ...]:
        """Names of the recognizers that are loaded."""
        return self._detector.recognizers

    def prove(self) -> None:
        """Loads every recognizer and proves on invented text that they work.

        Raises:
            RecollectError: DEIDENTIFICATION_FAILED naming what does not; of a verifier that cannot
                be loaded, MODEL_UNUSABLE, PACKAGE_MISSING or POLICY_INVALID.
        """
        self._detector.prove()
        if self._verifier is not None:
            self._verifier.prove()

    def deidentify(
        self,
        messages: Sequence[Message],
        known_values: Sequence[str] = (),
        subject: str | None = None,
    ) -> Deidentified:
        """The messages with every detected identifier replaced.

        Args:
            messages: of one example.
            known_values: values of its identifying columns.
            subject: whom it is about: dates and ages of one subject are moved alike, in every
                example. Without, they are within each example.

        Raises:
            RecollectError: INPUT_TOO_LARGE for a message over the policy's limit;
                DEIDENTIFICATION_FAILED where a recognizer failed or timed out, or a detected value
                would survive. The example must then be quarantined, never stored.
        """
        text, ranges = joined(messages, self.policy.max_characters)
        with self._limits(text):
            replacements = self._replacements(text, ranges, known_values, subject)
            contents = with_replacements(text, ranges, replacements)
            self._check(text, ranges, replacements)
        counts = Counter(r.finding.entity_type for r in replacements)
        return Deidentified(
            messages=tuple(
                replace(message, content=content)
                for message, content in zip(messages, contents, strict=True)
            ),
            findings=tuple(sorted(counts.items())),
            stand_ins=places(ranges, replacements),
        )

    def read_ahead(self, records: Iterable[Sequence[str]]) -> None:
        """Let a verifier read records together that will be explained one by one.

        Without a verifier, or with one that reads only what is uncertain, it does nothing.

        Args:
            records: the parts of each, as `explain` will get them.
        """
        if self._verifier is not None:
            self._verifier.read_ahead(SEPARATOR.join(parts) for parts in records)

    def find(self, text: str, known_values: Sequence[str] = ()) -> list[Finding]:
        """Disjoint findings of one text: what every stage found.

        Raises:
            RecollectError: as `deidentify`.
        """
        ranges = [(0, len(text))]
        with self._limits(text):
            return self._everywhere(text, ranges, self._settled(text, ranges, known_values))

    def explain(
        self,
        contents: Sequence[str],
        known_values: Sequence[str] = (),
        subject: str | None = None,
    ) -> tuple[Preview, ...]:
        """The parts of one record before and after, with what was replaced where in each of them.

        Offsets are those of a part before. What comes back quotes raw text: never store or log it.

        Raises:
            RecollectError: as `deidentify`.
        """
        messages = [Message(speaker=Speaker.USER, content=content) for content in contents]
        text, ranges = joined(messages, self.policy.max_characters)
        with self._limits(text):
            replacements = self._replacements(text, ranges, known_values, subject)
            new = with_replacements(text, ranges, replacements)
            self._check(text, ranges, replacements)
        own: list[list[Replacement]] = [[] for _ in ranges]
        current = 0
        for replaced in replacements:
            while replaced.finding.start >= ranges[current][1]:
                current += 1
            moved = replaced.finding.moved(-ranges[current][0])
            own[current].append(replace(replaced, finding=moved))
        return tuple(
            Preview(text=content, replacements=tuple(mine))
            for content, mine in zip(new, own, strict=True)
        )

    def preview(self, text: str, known_values: Sequence[str] = ()) -> Preview:
        """A text before and after, however it came out; only for text that may be shown."""
        message = Message(speaker=Speaker.USER, content=text)
        whole, ranges = joined([message], self.policy.max_characters)
        with self._limits(whole):
            replacements = self._replacements(whole, ranges, known_values)
            (content,) = with_replacements(whole, ranges, replacements)
        return Preview(text=content, replacements=tuple(replacements))

    @lru_cache(maxsize=1024)  # noqa: B019  # one for each service, which lives as long
    def clean_name(self, name: str) -> str:
        """The name of a file with identifiers replaced: it is stored beside each of its rows.

        Raises:
            RecollectError: as `deidentify`.
        """
        name = name[:_MAX_NAME_CHARACTERS]
        ranges = [(0, len(name))]
        with self._limits(name):
            found = [f for text in readings(name) for f in self._settled(text, ranges, ())]
            # Networks know sentences: of a file's name, only people they are sure of count.
            sure = (f.entity_type == "PERSON" and f.score >= _SURE for f in found)
            found = [f for f, s in zip(found, sure, strict=True) if f.stage not in _READERS or s]
            found = _trimmed(split_at(found, [(0, end_of_stem(name))]), name)
            replacements = self._stand_ins(words(name), ranges, settle(found, name))
            (clean,) = with_replacements(name, ranges, replacements)
            self._check(words(name), ranges, replacements)
        return clean

    def pseudonym(self, subject: str) -> str:
        """The keyed pseudonym of a subject: 32 hex digits."""
        return self._surrogates.pseudonym(subject)

    @contextmanager
    def _limits(self, text: str) -> Iterator[None]:
        """Any failure is a refusal, and so is running out of time."""
        with text_deadline(self.policy.text_timeout_seconds, len(text)), _closed():
            yield

    def _settled(
        self, text: str, ranges: Sequence[tuple[int, int]], known_values: Sequence[str]
    ) -> list[Finding]:
        found = self._detector.find(text)
        found += self._verified(text, found)
        found = [
            f for f in found if not is_arithmetic(f, text) and not _is_form_of_address(f, text)
        ]
        if "KNOWN_VALUE" in self.policy.entities:
            found.extend(self._known(text, known_values))
        found = _trimmed(split_at(found, ranges), text)
        if is_about_somebody(found, text):
            quasi = with_lead_ins(self._detector.find_quasi(text), text)
            found += _trimmed(split_at(quasi, ranges), text)
        found = whole_codes(with_titles(with_first_names(found, text), text), text)
        return bridged(settle(found, text), text)

    def _verified(self, text: str, found: Sequence[Finding]) -> list[Finding]:
        if self._verifier is None:
            return []
        tagger = None if "tagger" in self._without else shipped_tagger()
        with uncounted():
            return self._verifier.find_beside(tagger, text, found)

    def _known(self, text: str, values: Sequence[str]) -> list[Finding]:
        if not values:
            return []
        # As they look, like every other pattern.
        shadow = shadow_of(text)
        shown = [shadow_of(value).text for value in values]
        found = find_known(shadow.text, shown, self.policy.regex_timeout_seconds)
        spans = ((f, shadow.span(f.start, f.end)) for f in found)
        return [replace(f, start=start, end=end) for f, (start, end) in spans]

    def _replacements(
        self,
        text: str,
        ranges: Sequence[tuple[int, int]],
        known_values: Sequence[str],
        subject: str | None = None,
    ) -> list[Replacement]:
        findings = self._settled(text, ranges, known_values)
        return self._stand_ins(text, ranges, findings, subject)

    def _stand_ins(
        self,
        text: str,
        ranges: Sequence[tuple[int, int]],
        findings: list[Finding],
        subject: str | None = None,
    ) -> list[Replacement]:
        # Without a subject, the text itself stands for whoever it is about.
        whose = normalise(subject) if subject else sha256(text.encode()).hexdigest()
        findings = self._everywhere(text, ranges, findings)
        kinds = kinds_of(text, findings)
        values = ((f.entity_type, text[f.start : f.end]) for f in findings)
        avoid = frozenset(value.lower() for kind, value in values if must_vanish(kind, value))
        chosen: dict[str, str] = {}
        replacements = []
        for finding in findings:
            keep_to_deadline()
            original = text[finding.start : finding.end]
            if original not in chosen:
                chosen[original] = self._exchanged(finding, original, kinds, avoid, whose)
            replacements.append(
                Replacement(finding=finding, original=original, surrogate=chosen[original])
            )
        return replacements

    def _everywhere(
        self, text: str, ranges: Sequence[tuple[int, int]], findings: list[Finding]
    ) -> list[Finding]:
        if not self.policy.propagate or "document" in self._without:
            return findings
        return _propagate(text, ranges, findings)

    def _exchanged(
        self,
        finding: Finding,
        original: str,
        kinds: Mapping[str, str],
        avoid: frozenset[str],
        whose: str,
    ) -> str:
        operator = self.policy.operator(finding.entity_type)
        if operator is Operator.SURROGATE:
            shown = shadow_of(original).text.strip() or original
            return self._surrogates.stand_in(kinds[normalise(original)], shown, avoid, whose)
        return replacement(operator, finding.entity_type, original)

    def _check(
        self,
        text: str,
        ranges: Sequence[tuple[int, int]],
        replacements: Sequence[Replacement],
    ) -> None:
        """Fail where a detected value is still there, verbatim, after all."""
        if not self.policy.propagate:
            return
        values = {r.original: r.finding.entity_type for r in replacements}
        # A moved date may fall on another of the same text: of dates, what is left beside the
        # stand-ins is looked at.
        left = with_replacements(text, ranges, [replace(r, surrogate=_CUT) for r in replacements])
        survived = survivors("\n".join(left), values)
        kept_out = {v: kind for v, kind in values.items() if must_vanish(kind, v)}
        # A tag is no value of anybody's, though "[UK_NHS]" holds a word that was one.
        shown = [
            replace(r, surrogate=_CUT) if _is_plain(r, self.policy) else r for r in replacements
        ]
        survived |= survivors("\n".join(with_replacements(text, ranges, shown)), kept_out)
        if survived:
            kinds = ", ".join(sorted(survived))
            raise RecollectError(
                Reason.DEIDENTIFICATION_FAILED,
                f"A detected value would survive ({kinds}).",
                fix="The example stays quarantined.",
            )


@contextmanager
def _closed() -> Iterator[None]:
    """Turn any failure into a refusal; only its kind is told, since its message may quote text."""
    try:
        yield
    except RecollectError:
        raise
    except Exception as error:
        if isinstance(error, TimeoutError):
            step_ran_out()
        raise RecollectError(
            Reason.DEIDENTIFICATION_FAILED,
            f"De-identification failed with {type(error).__name__}.",
            fix="The example stays quarantined.",
        ) from None


def _is_plain(replaced: Replacement, policy: Policy) -> bool:
    """Whether what stands in says its type alone, or nothing."""
    kind = replaced.finding.entity_type
    return policy.operator(kind) is not Operator.SURROGATE or replaced.surrogate == f"[{kind}]"


def _is_form_of_address(finding: Finding, text: str) -> bool:
    """Whether a person is only addressed: "Dear Madam"."""
    value = text[finding.start : finding.end].lower().strip(" .,!")
    return finding.entity_type == "PERSON" and value in _FORMS_OF_ADDRESS


def _trimmed(findings: Iterable[Finding], text: str) -> list[Finding]:
    return [kept for finding in findings if (kept := trim(finding, text)) is not None]


def _propagate(
    text: str, ranges: Sequence[tuple[int, int]], findings: list[Finding]
) -> list[Finding]:
    """The findings, and each other place where one of the found values stands."""
    more = occurrences(text, findings)
    return settle([*findings, *_trimmed(split_at(more, ranges), text)], text)
