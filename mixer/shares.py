"""Shares: exact fractions, read from text as they are written and never rounded."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from fractions import Fraction

from .errors import Reason, RecollectError

SMALLEST_SHARE = Fraction(1, 100_000)
"""One row in a hundred thousand. Less is a slip of the pen, and makes seeking slow."""

MOST_OFFERED = 12
"""Sources up to which a normalised mix is spelled out."""

# Lengths are bounded so that no text, however hostile, makes a number that takes long to compute.
_DECIMAL = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?(?:[eE][+-]?[0-9]{1,2})?)[ ]?(%?)")
_RATIO = re.compile(r"([0-9]{1,18})[ ]?/[ ]?([0-9]{1,18})")


def parse_share(value: object) -> Fraction:
    """The share that a configuration means by `value`.

    Args:
        value: text such as `0.7`, `70%` or `2/3`, a whole number or a fraction. A float is read
            as Python prints it: 0.7 is 7/10.

    Raises:
        ValueError: it is not a number, or not 0 … 1.
    """
    share = _read(value)
    if share < 0:
        raise ValueError("a share cannot be below 0")
    if share > 1:
        raise ValueError(
            f"a share is at most 1, not {format_share(share)}; write 70 % as 70% or 0.7"
        )
    if 0 < share < SMALLEST_SHARE:
        raise ValueError(f"a share is at least {SMALLEST_SHARE}, or 0 for a source that rests")
    return share


def format_share(share: Fraction) -> str:
    """The exact text of a share, such as `7/10`; `parse_share` reads it back."""
    return str(share)


def format_percent(share: Fraction) -> str:
    """A share for human eyes: per cent, to at most four decimals."""
    return f"{float(share * 100):.4f}".rstrip("0").rstrip(".") + " %"


def common_denominator(shares: Sequence[Fraction]) -> int:
    """The least number of rows in which every share is a whole number of rows."""
    return math.lcm(*(share.denominator for share in shares))


def check_shares(shares: Sequence[Fraction], *, where: str = "shares", rest: bool = False) -> None:
    """Refuses shares that do not sum to exactly 1.

    Args:
        shares: of all sources.
        where: the field that holds them.
        rest: whether a share may be 0; where it may not, every source has to serve something.

    Raises:
        RecollectError: `MIX_SHARES`; what sums to something else is offered normalised.
    """
    if not shares or min(shares) < 0 or not (rest or min(shares)):
        raise RecollectError(
            Reason.MIX_SHARES,
            "every share must be above 0, and there must be one",
            where=where,
            fix="Leave out a source that serves nothing.",
        )
    total = sum(shares, Fraction(0))
    if total != 1:
        gap = abs(1 - total)
        raise RecollectError(
            Reason.MIX_SHARES,
            f"the shares sum to {total} ({format_percent(total)}), which is {gap} "
            f"({format_percent(gap)}) too {'little' if total < 1 else 'much'}",
            where=where,
            fix=f"Make them sum to exactly 1{_in_proportion(shares, total)}; thirds can be "
            "written as 1/3.",
        )


def _in_proportion(shares: Sequence[Fraction], total: Fraction) -> str:
    """What they would be if only their proportions were meant."""
    if not total or len(shares) > MOST_OFFERED:
        return ""
    return f" (in the same proportions: {', '.join(str(share / total) for share in shares)})"


def _read(value: object) -> Fraction:
    """The number in `value`, whatever its size."""
    if isinstance(value, Fraction):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Fraction(value)
    text = str(value) if isinstance(value, float) else value
    if not isinstance(text, str):
        raise ValueError("a share is a number such as 0.7, 70% or 2/3")
    if match := _DECIMAL.fullmatch(text.strip()):
        return Fraction(match[1]) / (100 if match[2] else 1)
    if (match := _RATIO.fullmatch(text.strip())) and int(match[2]):
        return Fraction(int(match[1]), int(match[2]))
    raise ValueError("a share is a number such as 0.7, 70% or 2/3")
