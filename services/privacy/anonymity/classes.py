"""Recoding: how much less exactly each subject is told of, so that k of them are always alike.

Bottom-up over full levels as in Datafly (Sweeney 2002), but who has enough company is settled and
takes no part in what the others need (local recoding); then each class is told as exactly again as
all of its parts can bear (top-down specialisation; Fung et al. 2005, LeFevre et al. 2006). Optimal
k-anonymity is NP-hard (Meyerson & Williams 2004); this is minimal, not optimal.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

Ladder = tuple[str, ...]
"""A value from exact to nothing: how it is told at each level of its attribute; "" is nothing."""
Profile = tuple[tuple[Ladder, ...], ...]
"""All that is told of a subject: of each attribute the ladders of its values, sorted."""
Levels = tuple[int, ...]
"""Of each attribute, how far up its ladders."""
Told = tuple[frozenset[str], ...]
"""A profile as it is published: of each attribute, what is told."""


def told_at(profile: Profile, levels: Levels) -> Told:
    """What is published of a profile at these levels."""
    return tuple(
        frozenset(ladder[level] for ladder in ladders if ladder[level])
        for ladders, level in zip(profile, levels, strict=True)
    )


def classes(weights: Mapping[Profile, int], levels: Mapping[Profile, Levels]) -> Counter[Told]:
    """Subjects by what is published of them, of the profiles that have levels."""
    sizes: Counter[Told] = Counter()
    for profile, chosen in levels.items():
        sizes[told_at(profile, chosen)] += weights[profile]
    return sizes


def as_they_are(weights: Mapping[Profile, int], heights: Levels, k: int) -> dict[Profile, Levels]:
    """Levels of the profiles that are shared by k subjects without any generalisation."""
    exact = (0,) * len(heights)
    sizes = classes(weights, dict.fromkeys(weights, exact))
    return {p: exact for p in weights if sizes[told_at(p, exact)] >= k}


def recoded(weights: Mapping[Profile, int], heights: Levels, k: int) -> dict[Profile, Levels]:
    """Levels of each profile at which at least k subjects are told of alike.

    A profile that is missing from the answer is to be held: those who are left over when nothing is
    told of them, fewer than k subjects in all. The answer depends on neither order nor chance.

    Args:
        weights: profile → subjects who have it; 0 where it is of rows whose subject nobody knows,
            who are nobody's company.
        heights: the highest level of each attribute, at which nothing is told.
        k: how many subjects must be alike.
    """
    chosen: dict[Profile, Levels] = {}
    settled: Counter[Told] = Counter()
    rest = sorted(weights)
    current = (0,) * len(heights)
    while rest:
        told = {profile: told_at(profile, current) for profile in rest}
        sizes = settled.copy()
        for profile in rest:
            sizes[told[profile]] += weights[profile]
        enough = [profile for profile in rest if sizes[told[profile]] >= k]
        for profile in enough:
            chosen[profile] = current
            settled[told[profile]] += weights[profile]
        rest = [profile for profile in rest if profile not in chosen]
        if current == heights:
            break
        current = _next(current, heights, [told[profile] for profile in rest])
    return _specialised(weights, chosen, k)


def _next(current: Levels, heights: Levels, told: Sequence[Told]) -> Levels:
    """One level up for the attribute of which the most different things are told."""
    open_ones = [a for a, level in enumerate(current) if level < heights[a]]
    attribute = max(open_ones, key=lambda a: (len({one[a] for one in told}), -a))
    return _stepped(current, attribute, 1)


def _stepped(levels: Levels, attribute: int, by: int) -> Levels:
    new = max(levels[attribute] + by, 0)
    return (*levels[:attribute], new, *levels[attribute + 1 :])


def _specialised(
    weights: Mapping[Profile, int], chosen: Mapping[Profile, Levels], k: int
) -> dict[Profile, Levels]:
    """Each class as exact as all of its parts can bear with k subjects in each."""
    result = dict(chosen)
    pending = list(_parts(result, result).values())
    while pending:
        members = pending.pop()
        for attribute in range(len(result[members[0]])):
            lower = {p: _stepped(result[p], attribute, -1) for p in members}
            if all(lower[p] == result[p] for p in members):
                continue
            parts = list(_parts(members, lower).values())
            if all(sum(weights[p] for p in part) >= k for part in parts):
                result.update(lower)
                pending.extend(parts)
                break
    return result


def _parts(
    profiles: Iterable[Profile], levels: Mapping[Profile, Levels]
) -> dict[Told, list[Profile]]:
    parts: dict[Told, list[Profile]] = defaultdict(list)
    for profile in profiles:
        parts[told_at(profile, levels[profile])].append(profile)
    return parts
