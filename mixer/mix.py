"""Mixes: the recipe that says which sources make up a training, and in which exact shares."""

from __future__ import annotations

import hashlib
import math
from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from .document import Name, canonical_json, read_model
from .errors import Reason, RecollectError
from .example import Purpose, Role
from .packing import Packing
from .shares import check_shares, format_share, parse_share
from .timeline import MOST_STAGES, Stage, Timeline

_SHARE_SCHEMA = WithJsonSchema(
    {
        "anyOf": [
            {"type": "string", "examples": ["70%", "2/3", "0.7"]},
            {"type": "number", "minimum": 0, "maximum": 1},
        ]
    }
)
_AS_TEXT = PlainSerializer(format_share, return_type=str)
Share: TypeAlias = Annotated[Fraction, BeforeValidator(parse_share), _AS_TEXT, _SHARE_SCHEMA]
Count: TypeAlias = Annotated[int, Field(strict=True, ge=1, le=10**12)]


MOST_DENOMINATOR_BITS = 4096
"""Of the common denominator of all shares of a mix; shares of 1e-9 have 30, and a hundred changes
that each divide by another trillion have 4,000."""


class OnExhaustion(StrEnum):
    """What happens when a source has been served as often as it may be."""

    REPEAT = "repeat"
    STOP = "stop"
    ERROR = "error"


class Unit(StrEnum):
    """What the shares of a mix count."""

    EXAMPLES = "examples"
    TOKENS = "tokens"
    SUPERVISED_TOKENS = "supervised_tokens"


class SourceShare(BaseModel):
    """What one source gives to a mix."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Name
    """Name of the source in the store."""
    role: Role
    """What its examples are for; several sources may have the same role."""
    share: Share
    """Its exact share, such as 70%, 0.7 or 2/3; 0 for one that joins by a change."""
    on_exhaustion: OnExhaustion = OnExhaustion.REPEAT
    """`repeat` starts it anew in another order, `stop` ends the plan, `error` refuses the plan."""
    max_epochs: Count | None = None
    """Passes it may make. Unset: any number for `repeat`, one for `stop` and `error`."""


class Change(BaseModel):
    """Other shares from a step on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    first_step: Count
    """The first step with these shares."""
    shares: dict[Name, Share]
    """The new share of every source; 0 for one that rests."""
    reason: Annotated[str, Field(max_length=1000)] = ""
    """Why, for those who read it later; a policy that proposed the change says so here."""


class Mix(BaseModel):
    """A versioned, named recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    name: Name
    description: Annotated[str, Field(max_length=10_000)] = ""
    purpose: Purpose = Purpose.TRAIN
    """Only sources of the same purpose may be used."""
    unit: Unit = Unit.EXAMPLES
    """What the shares count: rows, the tokens in them, or those of the tokens that are learnt."""
    packing: Packing = Packing.NONE
    """`none` gives every example a row; `best_fit` and `split` fill rows of `max_length` tokens."""
    batch_size: Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
    """Rows of one optimizer step, over all ranks."""
    num_steps: Count | None = None
    """Optimizer steps. Unset: until a source with `on_exhaustion: stop` runs out."""
    max_length: Annotated[int, Field(strict=True, ge=2, le=1 << 24)]
    """Tokens of a row: an example alone in one is cut to as many."""
    seed: Annotated[int, Field(strict=True, ge=0, lt=1 << 63)] = 0
    """Chooses the order of examples within each source."""
    sources: Annotated[tuple[SourceShare, ...], Field(min_length=1, max_length=1000)]
    changes: Annotated[tuple[Change, ...], Field(max_length=MOST_STAGES - 1)] = ()
    """Steps from which other shares hold; the error of the schedule is carried over each."""

    @model_validator(mode="after")
    def _agree(self) -> Mix:
        """Checks what no field can check alone."""
        names = [item.source for item in self.sources]
        seen: set[str] = set()
        for index, name in enumerate(names):
            if name in seen:
                raise RecollectError(
                    Reason.MIX_INVALID,
                    f"source {name!r} is named twice",
                    where=f"sources[{index}].source",
                    fix="Give each source one entry, with the sum of its shares.",
                )
            seen.add(name)
        self._check_denominators()
        check_shares(self.shares, where="sources", rest=bool(self.changes))
        self._check_changes(names)
        if self.num_steps is None and not any(
            item.on_exhaustion is OnExhaustion.STOP for item in self.sources
        ):
            raise RecollectError(
                Reason.MIX_INVALID,
                "the mix never ends",
                where="num_steps",
                fix="Set num_steps, or on_exhaustion: stop for one of the sources.",
            )
        return self

    def _check_denominators(self) -> None:
        """Refuses shares that have no common denominator of a bearable size.

        The error of the schedule is carried exactly over every change, over the denominator of all
        shares together, so that every number of the plan grows with it.
        """
        stages = [("sources", self.shares)]
        for index, change in enumerate(self.changes):
            stages.append((f"changes[{index}].shares", tuple(change.shares.values())))
        common = 1
        for where, shares in stages:
            for share in shares:
                if common % share.denominator:
                    common = math.lcm(common, share.denominator)
                if common.bit_length() > MOST_DENOMINATOR_BITS:
                    raise RecollectError(
                        Reason.MIX_INVALID,
                        "the common denominator of all shares of the mix has more than "
                        f"{MOST_DENOMINATOR_BITS} bits",
                        where=where,
                        fix="Write the shares over one denominator, such as in hundredths of a "
                        "per cent.",
                    )

    def _check_changes(self, names: list[str]) -> None:
        """Changes follow one another, and each is about the sources of the mix."""
        last_step = 0
        for index, change in enumerate(self.changes):
            where = f"changes[{index}]"
            if change.first_step <= last_step:
                raise RecollectError(
                    Reason.MIX_INVALID,
                    f"step {change.first_step} does not come after step {last_step}",
                    where=f"{where}.first_step",
                    fix="List changes by rising step, each step once.",
                )
            if differing := sorted(set(names) ^ set(change.shares)):
                raise RecollectError(
                    Reason.MIX_INVALID,
                    f"source {differing[0]!r} is in the change or in the mix, not in both",
                    where=f"{where}.shares",
                    fix="A change gives every source of the mix a share; 0 lets it rest.",
                )
            check_shares(list(change.shares.values()), where=f"{where}.shares", rest=True)
            last_step = change.first_step
        for index, item in enumerate(self.sources):
            if not item.share and not any(change.shares[item.source] for change in self.changes):
                raise RecollectError(
                    Reason.MIX_SHARES,
                    f"source {item.source!r} has no share in any stage",
                    where=f"sources[{index}].share",
                    fix="Give it a share, or leave it out.",
                )

    def unreached(self, num_steps: int) -> tuple[int, ...]:
        """Numbers of the changes that a plan of so many steps ends before."""
        return tuple(
            index for index, change in enumerate(self.changes) if change.first_step >= num_steps
        )

    def require_reach(self) -> None:
        """Refuses a change that can never take effect; plans sealed long ago may have some.

        Raises:
            RecollectError: `MIX_INVALID`.
        """
        if self.num_steps is None:
            return
        for index in self.unreached(self.num_steps):
            raise RecollectError(
                Reason.MIX_INVALID,
                f"the change at step {self.changes[index].first_step} never takes effect: the "
                f"last step is {self.num_steps - 1}",
                where=f"changes[{index}].first_step",
                fix="Let it begin earlier, raise num_steps, or leave it out.",
            )

    @cached_property
    def timeline(self) -> Timeline:
        """The shares by position, in the order of the sources."""
        stages = [Stage(first_position=0, shares=self.shares)]
        for change in self.changes:
            shares = tuple(change.shares[item.source] for item in self.sources)
            first = change.first_step * self.batch_size
            stages.append(Stage(first_position=first, shares=shares))
        return Timeline(stages)

    @property
    def shares(self) -> tuple[Fraction, ...]:
        """The shares at the first step, in the order of the sources."""
        return tuple(item.share for item in self.sources)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the canonical JSON: equal fingerprint, equal mix."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Canonical JSON, with shares as fractions."""
        return canonical_json(self.model_dump(mode="json"))

    @classmethod
    def from_mapping(cls, data: object) -> Mix:
        """The mix that parsed YAML or JSON describes.

        Raises:
            RecollectError: `MIX_INVALID` with the path of the first field that is wrong, or
                `MIX_SHARES`.
        """
        return read_model(cls, data, noun="mix", reason=Reason.MIX_INVALID)

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON Schema of the YAML, for editors."""
        return cls.model_json_schema()


__all__ = ["Change", "Mix", "OnExhaustion", "SourceShare", "Unit", "canonical_json"]
