"""Mixes: the recipe that says which sources make up a training, and in which exact shares."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable
from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Any, Literal, TypeAlias

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from .errors import Reason, RecollectError
from .example import Purpose, Role
from .shares import check_shares, format_share, parse_share

LONGEST_TEXT = 1 << 18
"""Characters of YAML that are read; a mix of a thousand sources has half of that."""
DEEPEST_NESTING = 8
"""Levels of YAML that are read; a mix has three. Many levels take a parser very long."""

Share: TypeAlias = Annotated[
    Fraction,
    BeforeValidator(parse_share),
    PlainSerializer(format_share, return_type=str),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "examples": ["70%", "2/3", "0.7"]},
                {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            ]
        }
    ),
]
Name: TypeAlias = Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]*$")]
Count: TypeAlias = Annotated[int, Field(strict=True, ge=1, le=10**12)]


class OnExhaustion(StrEnum):
    """What happens when a source has been served as often as it may be."""

    REPEAT = "repeat"
    STOP = "stop"
    ERROR = "error"


class SourceShare(BaseModel):
    """What one source gives to a mix."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Name
    """Name of the source in the store."""
    role: Role
    """What its examples are for; several sources may have the same role."""
    share: Share
    """Its exact share of the rows, such as 70%, 0.7 or 2/3."""
    on_exhaustion: OnExhaustion = OnExhaustion.REPEAT
    """`repeat` starts it anew in another order, `stop` ends the plan, `error` refuses the plan."""
    max_epochs: Count | None = None
    """Passes it may make. Unset: any number for `repeat`, one for `stop` and `error`."""


class Mix(BaseModel):
    """A versioned, named recipe."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    name: Name
    description: Annotated[str, Field(max_length=10_000)] = ""
    purpose: Purpose = Purpose.TRAIN
    """Only sources of the same purpose may be used."""
    unit: Literal["examples"] = "examples"
    """What the shares count."""
    batch_size: Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
    """Rows of one optimizer step, over all ranks."""
    num_steps: Count | None = None
    """Optimizer steps. Unset: until a source with `on_exhaustion: stop` runs out."""
    max_length: Annotated[int, Field(strict=True, ge=2, le=1 << 24)]
    """Tokens to which a row is cut."""
    seed: Annotated[int, Field(strict=True, ge=0, lt=1 << 63)] = 0
    """Chooses the order of examples within each source."""
    sources: Annotated[tuple[SourceShare, ...], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _agree(self) -> Mix:
        """Checks what no field can check alone."""
        names = [item.source for item in self.sources]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise RecollectError(
                    Reason.MIX_INVALID,
                    f"source {name!r} is named twice",
                    where=f"sources[{index}].source",
                    fix="Give each source one entry, with the sum of its shares.",
                )
        check_shares([item.share for item in self.sources], where="sources")
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

    @property
    def shares(self) -> tuple[Fraction, ...]:
        """The shares, in the order of the sources."""
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
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise _refusal(error) from None

    @classmethod
    def from_yaml(cls, text: str) -> Mix:
        """The mix that a YAML text describes; decimals are read as they are written.

        Raises:
            RecollectError: `MIX_INVALID` with the line or the field that is wrong, or `MIX_SHARES`.
        """
        return cls.from_mapping(_parse(text))

    @classmethod
    def json_schema(cls) -> dict[str, Any]:
        """JSON Schema of the YAML, for editors."""
        return cls.model_json_schema()


def canonical_json(value: object) -> str:
    """The one JSON text of a value: keys sorted, no spaces."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


class _ExactLoader(yaml.SafeLoader):
    """Reads YAML without rounding: a decimal stays the text that it is. Keys may not repeat."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        for index, (key, _) in enumerate(node.value):
            if key.value in keys[:index]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key.value!r} is given twice", key.start_mark
                )
        return super().construct_mapping(node, deep)


def _as_written(loader: yaml.SafeLoader, node: yaml.Node) -> str:
    """A decimal as its text."""
    return str(node.value)


_ExactLoader.add_constructor("tag:yaml.org,2002:float", _as_written)


def _parse(text: str) -> object:
    """The value of a YAML text, plain data only."""
    if len(text) > LONGEST_TEXT:
        raise _not_yaml(f"the text is longer than {LONGEST_TEXT} characters")
    try:
        depth = 0
        for event in yaml.parse(text, Loader=_ExactLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST_NESTING:
                raise _not_yaml("it is nested too deeply", event.start_mark)
            if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
                raise _not_yaml("tags and aliases are not read", event.start_mark)
        return yaml.load(text, Loader=_ExactLoader)  # a SafeLoader: makes plain data only
    except yaml.MarkedYAMLError as error:
        raise _not_yaml(error.problem or "it is not YAML", error.problem_mark) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise _not_yaml("it is not YAML that can be read") from None


def _not_yaml(problem: str, mark: Any = None) -> RecollectError:
    where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "mix"
    return RecollectError(Reason.MIX_INVALID, problem, where=where)


def _refusal(error: ValidationError) -> RecollectError:
    """The first thing that pydantic found, and how many more there are."""
    first, *others = error.errors(include_url=False, include_context=False, include_input=False)
    message = first["msg"].removeprefix("Value error, ")
    more = f" (and {len(others)} more)" if others else ""
    return RecollectError(Reason.MIX_INVALID, message + more, where=_path(first["loc"]))


def _path(location: tuple[int | str, ...]) -> str:
    """A field path such as `sources[2].share`."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path.removeprefix(".") or "mix"


__all__ = ["Mix", "OnExhaustion", "SourceShare", "canonical_json"]
