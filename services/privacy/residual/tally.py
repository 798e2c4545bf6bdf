"""Tally: looks at sampled examples one by one, and counts what is left in them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

from ....mixer.errors import Reason, RecollectError
from ....mixer.example import Example
from ..finding import Finding
from ..standin_places import StandIn
from .judgement import Judged, Verdict, judge, touched
from .kinds import DIRECT, Finder
from .outcome import Outcome, Recapture, Stratum, Survivor
from .sampling import Sample

MAX_SURVIVORS = 1000
"""Survivors that are listed, those for certain first; all are counted."""
UNREADABLE = "UNREADABLE"
"""In place of a type, where the second detector failed on an example: it counts as undecidable."""
_WHOLE = "all"


class ResidualTally:
    """Counts over the examples of a sample.

    Args:
        finders: the second detectors; what any of them finds counts.
        opened: opens the sealed places of an example's stand-ins.
        seed: of the draw of stand-ins.
    """

    def __init__(
        self,
        finders: Sequence[Finder],
        opened: Callable[[str, bytes], Sequence[StandIn]],
        seed: int,
    ) -> None:
        self._finders = finders
        self._opened = opened
        self._seed = seed
        self._sampled: Counter[str] = Counter()
        self._verdicts: Counter[tuple[str, Verdict]] = Counter()
        self._types: Counter[tuple[str, Verdict]] = Counter()
        self._drawn: Counter[tuple[str, bool]] = Counter()
        self._num_without_places = 0
        self._survivors: dict[Verdict, list[Survivor]] = {verdict: [] for verdict in Verdict}

    def take(self, example: Example, *, of_whole: bool) -> None:
        """Looks at one example.

        Raises:
            RecollectError: STORAGE_CORRUPT where the places of its stand-ins cannot be opened.
        """
        stand_ins = None
        if example.stand_ins is None:
            self._num_without_places += 1
        else:
            stand_ins = self._opened(example.example_id, example.stand_ins)
        contents = [message.content for message in example.messages]
        try:
            found = self._found(contents)
        except RecollectError as error:
            if error.reason is not Reason.DEIDENTIFICATION_FAILED:
                raise
            judged = [_unreadable(number) for number in range(len(contents))]
        else:
            judged = judge(contents, found, stand_ins)
            if of_whole:
                self._recapture(example.example_id, stand_ins or (), found)
        self._count(example, judged, of_whole)

    def _found(self, contents: Sequence[str]) -> list[list[Finding]]:
        found: list[list[Finding]] = [[] for _ in contents]
        for finder in self._finders:
            for own, more in zip(found, finder.find(contents), strict=True):
                own.extend(one for one in more if one.entity_type in DIRECT)
        return found

    def _recapture(
        self, example_id: str, stand_ins: Sequence[StandIn], found: Sequence[Sequence[Finding]]
    ) -> None:
        direct = [one for one in stand_ins if one.entity_type in DIRECT]
        if direct:
            one = random.Random(f"{self._seed} {example_id}").choice(direct)
            self._drawn[one.entity_type, touched(one, found[one.message])] += 1

    def _count(self, example: Example, judged: Sequence[Judged], of_whole: bool) -> None:
        left = [one for one in judged if one.verdict is not Verdict.STAND_IN]
        for one in left:
            listed = self._survivors[one.verdict]
            if len(listed) < MAX_SURVIVORS:
                listed.append(_survivor(example, one))
        names = [f"source {example.source}", *([_WHOLE] if of_whole else [])]
        worst = _worst(left)
        for name in names:
            self._sampled[name] += 1
            if worst:
                self._verdicts[name, worst] += 1
        if of_whole:
            for kind in {one.entity_type for one in left}:
                worst_of_kind = _worst([one for one in left if one.entity_type == kind])
                assert worst_of_kind is not None
                self._types[kind, worst_of_kind] += 1

    def outcome(
        self, samples: Sequence[Sample], *, snapshot_id: str, detectors: Sequence[str]
    ) -> Outcome:
        """What was counted, with its bounds."""
        total = sum(sample.num_examples for sample in samples)
        whole = self._stratum(_WHOLE, _WHOLE, total)
        certain = self._survivors[Verdict.SURVIVING]
        unsure = self._survivors[Verdict.UNDECIDABLE]
        return Outcome(
            snapshot_id=snapshot_id,
            seed=self._seed,
            detectors=tuple(detectors),
            whole=whole,
            sources=tuple(
                self._stratum(s.source, f"source {s.source}", s.num_examples) for s in samples
            ),
            entity_types=tuple(
                Stratum(
                    name=kind,
                    num_examples=total,
                    num_sampled=whole.num_sampled,
                    num_surviving=self._types[kind, Verdict.SURVIVING],
                    num_undecidable=self._types[kind, Verdict.UNDECIDABLE],
                )
                for kind in sorted({kind for kind, _ in self._types})
            ),
            recapture=self._recaptured(),
            num_without_places=self._num_without_places,
            survivors=(*certain, *unsure)[:MAX_SURVIVORS],
        )

    def _stratum(self, name: str, key: str, num_examples: int) -> Stratum:
        return Stratum(
            name=name,
            num_examples=num_examples,
            num_sampled=self._sampled[key],
            num_surviving=self._verdicts[key, Verdict.SURVIVING],
            num_undecidable=self._verdicts[key, Verdict.UNDECIDABLE],
        )

    def _recaptured(self) -> Recapture:
        kinds = sorted({kind for kind, _ in self._drawn})
        return Recapture(
            num_drawn=self._drawn.total(),
            num_found=sum(count for (_, found), count in self._drawn.items() if found),
            by_type={
                kind: (self._drawn[kind, True], self._drawn[kind, True] + self._drawn[kind, False])
                for kind in kinds
            },
        )


def _worst(judged: Sequence[Judged]) -> Verdict | None:
    verdicts = {one.verdict for one in judged}
    for verdict in (Verdict.SURVIVING, Verdict.UNDECIDABLE):
        if verdict in verdicts:
            return verdict
    return None


def _survivor(example: Example, one: Judged) -> Survivor:
    return Survivor(
        example_id=example.example_id,
        source=example.source,
        verdict=str(one.verdict),
        entity_type=one.entity_type,
        message=one.message,
        start=one.start,
        end=one.end,
        stage=one.stage,
        shape=one.shape,
    )


def _unreadable(message: int) -> Judged:
    return Judged(
        verdict=Verdict.UNDECIDABLE,
        entity_type=UNREADABLE,
        message=message,
        start=0,
        end=0,
        stage="",
        shape="",
    )
