"""k-anonymity of what is left: how many subjects have the same quasi-identifiers as each other.

A subject's tuple is all that its examples tell of it together, generalised as a policy would: ages
by ten years, dates by their year, places, and what somebody is (trade, origin, faith, illness).
Stand-ins do not count, since they tell nothing of anybody: what does is what was left as it came.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ....mixer.errors import Reason, RecollectError
from ....mixer.example import Example
from ..anonymity.classes import Levels
from ..anonymity.ladders import ladder
from ..anonymity.options import ATTRIBUTES, NAMES
from ..anonymity.remains import RemainsFinder
from ..standin_places import StandIn

AS_BANDS: Levels = tuple(
    {"age": 2, "birth": 2, "date": 2, "demographic": 0, "place": 0}[name] for name in NAMES
)
"""Ages by ten years, dates by their year, and the rest as it is."""
AS_IT_IS: Levels = (0,) * len(NAMES)
"""Everything as exactly as it is told."""
_HASH_BYTES = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Anonymity:
    """How well subjects hide among one another."""

    k: int
    num_examples: int
    """Examples that are about a subject."""
    num_subjects: int
    class_sizes: Mapping[int, int]
    """Size of a class of equal tuples → subjects in classes of that size."""
    attributes: Mapping[str, int]
    """Attribute → subjects of whom something of it is left."""
    num_unread: int
    """Examples on which the detector failed; what they tell is not in the tuples."""
    examples_below: tuple[str, ...]
    """Ids of the examples of subjects in classes smaller than k."""

    @property
    def num_below(self) -> int:
        """Subjects in classes smaller than k."""
        return sum(count for size, count in self.class_sizes.items() if size < self.k)

    def to_body(self) -> dict[str, Any]:
        """Counts as plain data."""
        return {
            "k": self.k,
            "num_examples": self.num_examples,
            "num_subjects": self.num_subjects,
            "num_subjects_below": self.num_below,
            "num_examples_below": len(self.examples_below),
            "class_sizes": {str(size): n for size, n in sorted(self.class_sizes.items())},
            "attributes": dict(sorted(self.attributes.items())),
            "num_unread": self.num_unread,
        }


class AnonymityTally:
    """Gathers what examples tell of their subjects.

    Args:
        opened: opens the sealed places of an example's stand-ins.
        levels: how exactly values of each attribute are compared.
    """

    def __init__(
        self, opened: Callable[[str, bytes], Sequence[StandIn]], levels: Levels = AS_BANDS
    ) -> None:
        self._finder = RemainsFinder()
        self._opened = opened
        self._levels = levels
        self._told: dict[str, set[bytes]] = defaultdict(set)
        self._examples: dict[str, list[bytes]] = defaultdict(list)
        self._num_unread = 0

    def take(self, example: Example) -> None:
        """Adds what an example tells of its subject, if it has one."""
        if example.subject is None:
            return
        stand_ins: Sequence[StandIn] = ()
        if example.stand_ins is not None:
            stand_ins = self._opened(example.example_id, example.stand_ins)
        places = [(one.message, one.start, one.end) for one in stand_ins]
        contents = [message.content for message in example.messages]
        self.add(example.subject, example.example_id, contents, places)

    def add(
        self,
        subject: str,
        example_id: str,
        texts: Sequence[str],
        stand_ins: Sequence[tuple[int, int, int]],
        left: Sequence[tuple[int, int, int, str]] = (),
    ) -> None:
        """Adds what texts tell of a subject.

        Args:
            subject: its pseudonym.
            example_id: of the texts: hexadecimal.
            texts: of one example or row.
            stand_ins: what tells nothing: text, start, end.
            left: what is known to be left: text, start, end, entity type.
        """
        self._examples[subject].append(bytes.fromhex(example_id))
        for number, start, end, kind in left:
            self._tell(subject, kind, texts[number][start:end])
        for number, text in enumerate(texts):
            taken = [(start, end) for one, start, end in stand_ins if one == number]
            taken += [(start, end) for one, start, end, _ in left if one == number]
            try:
                found = self._finder.find(text, taken)
            except RecollectError as error:
                if error.reason is not Reason.DEIDENTIFICATION_FAILED:
                    raise
                self._num_unread += 1
                break
            for one in found:
                self._tell(subject, one.entity_type, text[one.start : one.end])

    def _tell(self, subject: str, entity_type: str, value: str) -> None:
        attribute = ATTRIBUTES[entity_type]
        order = NAMES.index(attribute)
        told = ladder(entity_type, value)[self._levels[order]]
        if not told:
            return
        # Not the value: of a large store, all that is kept would be much.
        digest = hashlib.sha256(f"{attribute}\0{told}".encode()).digest()
        self._told[subject].add(bytes([order]) + digest[:_HASH_BYTES])

    def outcome(self, k: int) -> Anonymity:
        """What was gathered."""
        tuples = {subject: frozenset(self._told[subject]) for subject in self._examples}
        sizes = Counter(tuples.values())
        return Anonymity(
            k=k,
            num_examples=sum(map(len, self._examples.values())),
            num_subjects=len(tuples),
            class_sizes=Counter(sizes[told] for told in tuples.values()),
            attributes=Counter(
                NAMES[order] for told in tuples.values() for order in {one[0] for one in told}
            ),
            num_unread=self._num_unread,
            examples_below=tuple(
                example_id.hex()
                for subject, told in tuples.items()
                if sizes[told] < k
                for example_id in self._examples[subject]
            ),
        )
