"""Sealing: a mix is bound to what the store holds, checked, and given its plan id."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from .errors import Reason, RecollectError
from .extent import num_positions_of
from .limits import RatioPolicy, check_limits
from .measures import Measures
from .mix import Mix, SourceShare, Unit, canonical_json
from .plan import (
    PLAN_VERSION,
    Plan,
    SealedSource,
    SourceSnapshot,
    needs_measures,
    plan_id_of,
    source_rows,
    weights_of,
)
from .rows import SourceRows
from .timeline import END

LONGEST_PLAN = 1 << 20
"""Characters of a plan's JSON."""
_WITH_ID = f',"plan_id":"{"0" * 64}"'
"""What the id adds to it."""


def seal(
    mix: Mix,
    *,
    snapshot_id: str,
    sources: Mapping[str, SourceSnapshot],
    tokenizer_digest: str,
    measures: Mapping[str, Measures] | None = None,
    policy: RatioPolicy | None = None,
) -> Plan:
    """Binds a mix to what the store holds and to a tokenizer.

    Args:
        mix: the recipe.
        snapshot_id: what the store calls the moment.
        sources: the sources of the snapshot by name; those that the mix does not use are ignored.
        tokenizer_digest: content hash of the tokenizer.
        measures: lengths of the sources' examples; for a mix that packs or counts tokens.
        policy: floors and ceilings that every stage of the mix has to keep.

    Raises:
        RecollectError: `MIX_UNKNOWN_SOURCE`, `MIX_EMPTY_SOURCE`, `MIX_PURPOSE`, `MIX_EXHAUSTED`,
            `LIMIT_VIOLATED`, `MEASURES_DIFFER`, or `MIX_INVALID` if the role is not that of the
            source or the plan would be too long.
    """
    held = [
        _held(mix, item, sources, where=f"sources[{number}]")
        for number, item in enumerate(mix.sources)
    ]
    if policy is not None:
        roles = {item.source: item.role for item in mix.sources}
        check_limits(policy, roles, *(stage.shares for stage in mix.timeline.stages))
    rows = source_rows(mix, [item.num_examples for item in held], _checked(mix, held, measures))
    _check_weights(mix, rows)
    sealed = tuple(
        _sealed(item, source, served)
        for item, source, served in zip(mix.sources, held, rows, strict=True)
    )
    unnamed = Plan(
        plan_id="",
        mix=mix,
        policy=policy,
        snapshot_id=snapshot_id,
        tokenizer_digest=tokenizer_digest,
        sources=sealed,
        num_positions=num_positions_of(mix, sealed, rows),
        rows=rows,
    )
    content = unnamed.content()
    if len(canonical_json(content)) > LONGEST_PLAN - len(_WITH_ID):
        raise RecollectError(
            Reason.MIX_INVALID,
            f"the plan would have more than {LONGEST_PLAN:,} characters, which nobody reads",
            where="changes" if mix.changes else "sources",
            fix="Use fewer changes or shorter texts, or continue with a second mix.",
        )
    return replace(unnamed, plan_id=plan_id_of(content))


def read_plan(text: str, measures: Mapping[str, Measures] | None = None) -> Plan:
    """The plan that `Plan.to_json` wrote.

    Args:
        text: canonical JSON.
        measures: lengths of its sources' examples; a plan that depends on them cannot say its
            batches before it has them (`Plan.with_measures`).

    Raises:
        RecollectError: `VERSION_UNKNOWN`, or `PLAN_TAMPERED` if it is not what its id says.
    """
    try:
        if len(text) > LONGEST_PLAN:
            raise ValueError("no mix is that long")
        content = json.loads(text)
        stated = content.pop("plan_id")
        version = content["version"]
        sealed_id = plan_id_of(content)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _tampered("the text is not a plan") from None
    if type(version) is not int or version != PLAN_VERSION:
        raise RecollectError(
            Reason.VERSION_UNKNOWN,
            f"the plan has version {version!r}; this program reads {PLAN_VERSION}",
            where="version",
            fix="Use the version of the program that sealed it.",
        )
    if stated != sealed_id:
        raise _tampered("the content does not match the plan id")
    plan = _unsealed(content, stated)
    if plan.content() != content:
        raise _tampered("the content is not what sealing it again gives")
    return plan if measures is None else plan.with_measures(measures)


def differences(one: Plan, other: Plan) -> list[str]:
    """Paths of what two plans do not have in common, such as `sources[1].content_digest`."""
    return list(_differing(one.content(), other.content(), ""))


def _differing(one: object, other: object, path: str) -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted(set(one) | set(other))
        parts = [
            _differing(one.get(key), other.get(key), f"{path}.{key}" if path else str(key))
            for key in keys
        ]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        parts = [
            _differing(mine, yours, f"{path}[{index}]")
            for index, (mine, yours) in enumerate(zip(one, other, strict=True))
        ]
    else:
        return [] if one == other else [path]
    return [found for part in parts for found in part]


def _held(
    mix: Mix, item: SourceShare, sources: Mapping[str, SourceSnapshot], *, where: str
) -> SourceSnapshot:
    """What the snapshot has of one source of the mix."""
    held = sources.get(item.source)
    if held is None:
        raise RecollectError(
            Reason.MIX_UNKNOWN_SOURCE,
            f"the store holds no source {item.source!r}",
            where=f"{where}.source",
            fix=f"It holds: {', '.join(sorted(sources)) or 'none'}.",
        )
    if held.purpose is not mix.purpose:
        raise RecollectError(
            Reason.MIX_PURPOSE,
            f"source {item.source!r} is for {held.purpose}, the mix is for {mix.purpose}",
            where=f"{where}.source",
        )
    if held.role is not item.role:
        raise RecollectError(
            Reason.MIX_INVALID,
            f"source {item.source!r} has the role {held.role}, not {item.role}",
            where=f"{where}.role",
        )
    if held.num_examples < 1:
        raise RecollectError(
            Reason.MIX_EMPTY_SOURCE,
            f"source {item.source!r} has a share of {item.share} and no examples",
            where=f"{where}.source",
            fix="Ingest examples into it, or leave it out.",
        )
    return held


def _checked(
    mix: Mix, held: Sequence[SourceSnapshot], measures: Mapping[str, Measures] | None
) -> Mapping[str, Measures]:
    """The measures, if they are needed: one for each example of each source."""
    if not needs_measures(mix):
        return {}
    for index, source in enumerate(held):
        given = (measures or {}).get(source.name)
        if given is None or len(given) != source.num_examples:
            raise RecollectError(
                Reason.MEASURES_DIFFER,
                f"source {source.name!r} has {source.num_examples} examples and measures of "
                f"{0 if given is None else len(given)}",
                where=f"sources[{index}]",
            )
    return measures or {}


def _check_weights(mix: Mix, rows: Sequence[SourceRows]) -> None:
    """Refuses a source that cannot have a share of what is counted."""
    if mix.unit is Unit.EXAMPLES:
        return
    for index, item in enumerate(rows):
        if not weights_of(mix.unit, item).any():
            raise RecollectError(
                Reason.MIX_EMPTY_SOURCE,
                f"source {item.name!r} has no {mix.unit.replace('_', ' ')}, so it can have no "
                "share of them",
                where=f"sources[{index}]",
                fix="Leave it out, raise max_length, or count examples.",
            )


def _sealed(item: SourceShare, held: SourceSnapshot, rows: SourceRows) -> SealedSource:
    return SealedSource(
        name=item.source,
        role=item.role,
        share=item.share,
        num_examples=held.num_examples,
        num_rows=rows.num_rows,
        content_digest=held.content_digest,
        measures_digest=rows.measures.digest if rows.measures else "",
        on_exhaustion=item.on_exhaustion,
        max_epochs=item.max_epochs,
    )


def _unsealed(content: Mapping[str, object], plan_id: str) -> Plan:
    """Seals again what a plan's JSON says, so that nothing in it is taken on trust.

    What follows from measures alone can be checked only by who has them.
    """
    try:
        mix = Mix.from_mapping(content["mix"])
        policy = content["policy"]
        items = content["sources"]
        if not isinstance(items, list):
            raise TypeError("expected a list")
        roles = {item.source: item.role for item in mix.sources}
        held = {
            item["name"]: SourceSnapshot(
                name=item["name"],
                role=roles[item["name"]],
                purpose=mix.purpose,
                num_examples=operator.index(item["num_examples"]),
                content_digest=_text(item["content_digest"]),
            )
            for item in items
        }
        allowed = None if policy is None else RatioPolicy.from_mapping(policy)
        ids = _text(content["snapshot_id"]), _text(content["tokenizer_digest"])
        if not needs_measures(mix):
            return replace(
                seal(
                    mix,
                    snapshot_id=ids[0],
                    sources=held,
                    tokenizer_digest=ids[1],
                    policy=allowed,
                ),
                plan_id=plan_id,
            )
        if allowed is not None:
            check_limits(allowed, roles, *(stage.shares for stage in mix.timeline.stages))
        sealed = tuple(
            SealedSource(
                name=item.source,
                role=item.role,
                share=item.share,
                num_examples=_held(mix, item, held, where="").num_examples,
                num_rows=_count(stated["num_rows"]),
                content_digest=held[item.source].content_digest,
                measures_digest=_digest(stated["measures_digest"]),
                on_exhaustion=item.on_exhaustion,
                max_epochs=item.max_epochs,
            )
            for item, stated in zip(mix.sources, items, strict=True)
        )
        num_positions = content["num_positions"]
        most = min((mix.num_steps or END) * mix.batch_size, END - 1)
        if type(num_positions) is not int or not 1 <= num_positions <= most:
            raise TypeError("expected a number of rows")
        return Plan(
            plan_id=plan_id,
            mix=mix,
            policy=allowed,
            snapshot_id=ids[0],
            tokenizer_digest=ids[1],
            sources=sealed,
            num_positions=num_positions,
            rows=None,
        )
    except RecollectError as refused:
        raise RecollectError(
            Reason.PLAN_TAMPERED,
            f"the content cannot be sealed again: {refused.message}",
            where=f"plan: {refused.where}",
            fix="Fetch it anew from the service.",
        ) from None
    except (KeyError, TypeError, ValueError):
        raise _tampered("the content cannot be sealed again") from None


def _count(value: object) -> int:
    if type(value) is not int or not 1 <= value < END:
        raise TypeError("expected a number of rows")
    return value


def _digest(value: object) -> str:
    if not re.fullmatch("[0-9a-f]{64}", _text(value)):
        raise TypeError("expected a digest")
    return _text(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("expected a text")
    return value


def _tampered(problem: str) -> RecollectError:
    return RecollectError(
        Reason.PLAN_TAMPERED, problem, where="plan", fix="Fetch it anew from the service."
    )
