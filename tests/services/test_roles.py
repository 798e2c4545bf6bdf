"""Roles and purposes, in words and on the wire."""

from recollect.mixer.example import Purpose, Role
from recollect.services.roles import (
    purpose_from_wire,
    purpose_to_wire,
    role_from_wire,
    role_to_wire,
)


def test_roles_and_purposes_survive_the_wire() -> None:
    assert [role_from_wire(role_to_wire(role)) for role in Role] == list(Role)
    assert [purpose_from_wire(purpose_to_wire(p)) for p in Purpose] == list(Purpose)
