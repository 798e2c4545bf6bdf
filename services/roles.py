"""Roles and purposes on the wire and off it.

A value that is not said, or that only a newer client knows, is refused: a guess could train on what
was held out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from ..mixer.errors import Reason, RecollectError
from ..mixer.example import Purpose, Role
from ..v1 import store_pb2 as wire

Value = TypeVar("Value", Role, Purpose)


def role_to_wire(role: Role) -> wire.Role.ValueType:
    """The wire value of a role."""
    return wire.Role.Value(f"ROLE_{role.value.upper()}")


def purpose_to_wire(purpose: Purpose) -> wire.Purpose.ValueType:
    """The wire value of a purpose."""
    return wire.Purpose.Value(f"PURPOSE_{purpose.value.upper()}")


_ROLES: dict[int, Role] = {role_to_wire(role): role for role in Role}
_PURPOSES: dict[int, Purpose] = {purpose_to_wire(purpose): purpose for purpose in Purpose}


def role_from_wire(role: int) -> Role:
    """The role that a wire value names.

    Raises:
        RecollectError: INPUT_MALFORMED where it names none.
    """
    return _named(role, _ROLES, "role")


def purpose_from_wire(purpose: int) -> Purpose:
    """The purpose that a wire value names.

    Raises:
        RecollectError: INPUT_MALFORMED where it names none.
    """
    return _named(purpose, _PURPOSES, "purpose")


def _named(number: int, known: Mapping[int, Value], field: str) -> Value:
    if number not in known:
        raise RecollectError(
            Reason.INPUT_MALFORMED,
            f"a source needs a {field}; {number} names none.",
            where=f"source.{field}",
            fix=f"Choose one of {', '.join(value.value for value in known.values())}.",
        )
    return known[number]


def role_word(role: wire.Role.ValueType) -> str:
    """A wire value as people write it."""
    return wire.Role.Name(role).removeprefix("ROLE_").lower()
