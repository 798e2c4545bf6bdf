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
from ..deidentifier import Deidentifier
from ..finding import Finding
from ..operators import replacement
from ..policy import Operator, Policy
from ..standin_places import StandIn
from ..surrogates import normalise

ATTRIBUTES: Mapping[str, str] = {
    "AGE": "age",
    "DATE_OF_BIRTH": "birth",
    "DATE_TIME": "date",
    "DEMOGRAPHIC": "demographic",
    "LOCATION": "place",
}
"""Entity type → what it is of a subject."""
_GENERALISED = frozenset({"AGE", "DATE_OF_BIRTH", "DATE_TIME"})
_ANY_KEY = bytes(32)
"""What is found does not depend on the key."""
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
    """

    def __init__(self, opened: Callable[[str, bytes], Sequence[StandIn]]) -> None:
        policy = Policy.from_mapping({"entities": sorted(ATTRIBUTES)})
        self._detector = Deidentifier(policy, _ANY_KEY)
        self._opened = opened
        self._told: dict[str, set[bytes]] = defaultdict(set)
        self._examples: dict[str, list[bytes]] = defaultdict(list)
        self._num_unread = 0

    def take(self, example: Example) -> None:
        """Adds what an example tells of its subject, if it has one."""
        if example.subject is None:
            return
        self._examples[example.subject].append(bytes.fromhex(example.example_id))
        stand_ins: Sequence[StandIn] = ()
        if example.stand_ins is not None:
            stand_ins = self._opened(example.example_id, example.stand_ins)
        for number, message in enumerate(example.messages):
            own = [one for one in stand_ins if one.message == number]
            try:
                found = self._detector.find(message.content)
            except RecollectError as error:
                if error.reason is not Reason.DEIDENTIFICATION_FAILED:
                    raise
                self._num_unread += 1
                break
            for finding in found:
                if not any(s.start < finding.end and finding.start < s.end for s in own):
                    self._tell(example.subject, finding, message.content)

    def _tell(self, subject: str, finding: Finding, content: str) -> None:
        attribute = ATTRIBUTES[finding.entity_type]
        value = content[finding.start : finding.end]
        if finding.entity_type in _GENERALISED:
            value = replacement(Operator.GENERALISE, finding.entity_type, value)
            if value.startswith("["):
                return
        # Not the value: of a large store, all that is kept would be much.
        digest = hashlib.sha256(f"{attribute}\0{normalise(value)}".encode()).digest()
        order = sorted(set(ATTRIBUTES.values())).index(attribute)
        self._told[subject].add(bytes([order]) + digest[:_HASH_BYTES])

    def outcome(self, k: int) -> Anonymity:
        """What was gathered."""
        tuples = {subject: frozenset(self._told[subject]) for subject in self._examples}
        sizes = Counter(tuples.values())
        names = sorted(set(ATTRIBUTES.values()))
        return Anonymity(
            k=k,
            num_examples=sum(map(len, self._examples.values())),
            num_subjects=len(tuples),
            class_sizes=Counter(sizes[told] for told in tuples.values()),
            attributes=Counter(
                names[order] for told in tuples.values() for order in {one[0] for one in told}
            ),
            num_unread=self._num_unread,
            examples_below=tuple(
                example_id.hex()
                for subject, told in tuples.items()
                if sizes[told] < k
                for example_id in self._examples[subject]
            ),
        )
