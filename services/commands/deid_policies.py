"""`recollect deid policies`: what ships, and what a policy does with each class of identifiers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from .terminal import JsonOption, console, print_json, table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.table import Table

    from ..privacy.policy import Policy

_DOUBT = (
    "In doubt nothing comes out: a record goes to quarantine as a whole, by its number, where a "
    "recognizer fails or runs out of time, where a text is too long, and where something that was "
    "found would be left."
)


def policies(
    name: Annotated[
        str, typer.Argument(help="A policy to show whole: a shipped one, or a YAML file.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """List the policies that ship, or show what one of them does with each class."""
    from ..privacy.policy import load_policy, shipped_policies

    if name:
        chosen = load_policy(name)
        if as_json:
            print_json(_body(chosen))
            return
        for shown in _whole(chosen):
            console.print(shown)
        console.print(_DOUBT, highlight=False)
        return
    found = shipped_policies()
    if as_json:
        print_json([p.model_dump(mode="json") | {"fingerprint": p.fingerprint} for p in found])
        return
    rows = [
        (
            p.name,
            p.version,
            ", ".join(sorted({str(p.operator(e)) for e in p.entities})),
            f"{len(p.entities)}",
            f"{p.tagger_threshold}",
        )
        for p in found
    ]
    columns = ("policy", "version", "operators", "types", "tagger threshold")
    console.print(table("Policies", columns, rows, numbers=2))
    console.print(
        "`recollect deid policies NAME` shows what one does with each class", highlight=False
    )


def _whole(policy: Policy) -> Iterator[Table]:
    """The policy as tables: its thresholds, its types, and the classes of the law it is for."""
    from ..privacy.policy import ENTITY_TYPES

    yield table(f"{policy.name} {policy.version}", ("setting", "value"), _settings(policy))
    rows = [(kind, str(policy.operator(kind)), _left_of(kind, policy)) for kind in _types(policy)]
    rows += [(kind, "kept", "stays as it is") for kind in sorted(ENTITY_TYPES - policy.entities)]
    yield table("Types", ("type", "operator", "what is left of it"), rows)
    if classes := _safe_harbor(policy):
        cells = [
            (f"({one['letter']})", one["class"], ", ".join(one["entity_types"]), one["note"])
            for one in classes
        ]
        columns = ("", "class of 45 CFR 164.514(b)(2)(i)", "types", "")
        yield table("Safe Harbor", columns, cells)


def _settings(policy: Policy) -> list[tuple[str, str]]:
    """What decides, in doubt, whether something is found; and what is refused."""
    return [
        ("fingerprint", policy.fingerprint),
        ("tagger_threshold", f"{policy.tagger_threshold}: a word counts from this probability on"),
        ("score_threshold", f"{policy.score_threshold}: a pattern's finding counts from it on"),
        ("propagate", "what is found once is found again" if policy.propagate else "no"),
        ("verifier", policy.verifier.model if policy.verifier else "none"),
        ("max_characters", f"{policy.max_characters:,}: a longer text is refused"),
        ("regex_timeout_seconds", f"{policy.regex_timeout_seconds}: a slower pattern refuses"),
    ]


_GENERALISED = {
    "AGE": "ten years, as in 40-49; 90+ from 90 on",
    "DATE_OF_BIRTH": "its year",
    "DATE_TIME": "its year",
}


def _left_of(kind: str, policy: Policy) -> str:
    """What is left of a value of a type."""
    from ..privacy.policy import Operator

    means = {
        Operator.SURROGATE: "a stand-in, the same for the same value under the same key",
        Operator.TAG: "its type in brackets",
        Operator.MASK: "an asterisk for each letter and digit",
        Operator.DROP: "nothing",
        Operator.GENERALISE: _GENERALISED.get(kind, "its type in brackets"),
    }
    return means[policy.operator(kind)]


def _types(policy: Policy) -> list[str]:
    return sorted(policy.entities)


def _safe_harbor(policy: Policy) -> list[dict[str, Any]]:
    """The 18 classes with the types that the policy replaces; none of other policies."""
    from ..privacy.safe_harbor import POLICY_NAME, SAFE_HARBOR

    if policy.name != POLICY_NAME:
        return []
    return [
        {
            "letter": one.letter,
            "class": one.words,
            "entity_types": [kind for kind in one.entity_types if kind in policy.entities],
            "note": one.note,
        }
        for one in SAFE_HARBOR
    ]


def _body(policy: Policy) -> dict[str, Any]:
    values = policy.model_dump(mode="json") | {"fingerprint": policy.fingerprint}
    values["entities"] = _types(policy)
    values["operators"] = {kind: str(policy.operator(kind)) for kind in _types(policy)}
    classes = _safe_harbor(policy)
    return values | ({"safe_harbor": classes} if classes else {}) | {"on_doubt": _DOUBT}
