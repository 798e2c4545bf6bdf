"""YAML, read exactly and safely.

A decimal stays the text that it is, so nothing is rounded before it is understood; tags, aliases,
repeated keys and deep nesting are refused before anything is made of them.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any

import yaml

from ..mixer.document import quote
from ..mixer.errors import Reason, RecollectError
from ..mixer.limits import RatioPolicy
from ..mixer.mix import Mix
from ..mixer.proposals import Proposer
from ..mixer.proposers import read_proposer
from ..mixer.ramp import Ramp

LONGEST_TEXT = 1 << 18
"""Characters of YAML that are read; a mix of a thousand sources has half of that."""
DEEPEST_NESTING = 8
"""Levels of YAML that are read; a mix has three. Many levels take a parser very long."""


def mix_from_yaml(text: str) -> Mix:
    """The mix that a YAML text describes; decimals are read as they are written.

    Raises:
        RecollectError: `MIX_INVALID` with the line or the field that is wrong, or `MIX_SHARES`.
    """
    return Mix.from_mapping(parse_yaml(text))


def policy_from_yaml(text: str) -> RatioPolicy:
    """The ratio policy that a YAML text describes.

    Raises:
        RecollectError: `POLICY_INVALID` with the line or the field that is wrong.
    """
    return RatioPolicy.from_mapping(parse_yaml(text, noun="policy", reason=Reason.POLICY_INVALID))


def proposer_from_yaml(text: str) -> Proposer | Ramp:
    """The proposer of shares that a YAML text describes.

    Raises:
        RecollectError: `POLICY_INVALID` with the line or the field that is wrong.
    """
    return read_proposer(parse_yaml(text, noun="proposer", reason=Reason.POLICY_INVALID))


def parse_yaml(text: str, *, noun: str = "mix", reason: Reason = Reason.MIX_INVALID) -> object:
    """The value of a YAML text: plain data only, and decimals as they are written.

    Args:
        text: the YAML.
        noun: what a refusal calls the whole document.
        reason: the reason of a refusal.

    Raises:
        RecollectError: `reason`, with line and column where they are known.
    """
    try:
        return _parse(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else noun
        raise RecollectError(reason, error.problem or "it is not YAML", where=where) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise RecollectError(reason, "it is not YAML that can be read", where=noun) from None


class _ExactLoader(yaml.SafeLoader):
    """Reads YAML without rounding: a decimal stays the text that it is. Keys may not repeat."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            # A key that is itself a list or a mapping is refused by the loader.
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise _marked(f"key {quote(key.value)} is given twice", key.start_mark)
            seen.update([key.value] if isinstance(key, yaml.ScalarNode) else [])
        return super().construct_mapping(node, deep)


def _as_written(loader: yaml.SafeLoader, node: yaml.Node) -> str:
    """A decimal as its text."""
    return str(node.value)


def _plain_number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    """A whole number; none that YAML reads otherwise than people do, 012 as 10 or 1:30 as 90."""
    number = loader.construct_yaml_int(node)
    if not _PLAIN_NUMBER.fullmatch(node.value):
        raise _marked("a whole number is written in plain digits", node.start_mark)
    return int(number)


_PLAIN_NUMBER = re.compile("[-+]?(0|[1-9][0-9_]*)")
_BOOLEAN = "tag:yaml.org,2002:bool"
_ExactLoader.add_constructor("tag:yaml.org,2002:float", _as_written)
_ExactLoader.add_constructor("tag:yaml.org,2002:int", _plain_number)
# Only true and false are truth values; a source may be called no, on or off.
_ExactLoader.yaml_implicit_resolvers = {
    first: [rule for rule in rules if rule[0] != _BOOLEAN]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_ExactLoader.add_implicit_resolver(_BOOLEAN, re.compile("^(?:true|false)$"), list("tf"))


def _parse(text: str) -> object:
    if len(text) > LONGEST_TEXT:
        raise _marked(f"the text is longer than {LONGEST_TEXT} characters", None)
    depth = 0
    for event in yaml.parse(text, Loader=_ExactLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST_NESTING:
            raise _marked("it is nested too deeply", event.start_mark)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "tag", None):
            raise _marked("tags and aliases are not read", event.start_mark)
    return yaml.load(text, Loader=_ExactLoader)  # a SafeLoader: makes plain data only


def _marked(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, mark)
