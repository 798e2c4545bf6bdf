"""The ratio policy of a service: a file that is read once, at start."""

from __future__ import annotations

from pathlib import Path

from ..mixer.errors import Reason, RecollectError
from ..mixer.limits import RatioPolicy
from .yaml_text import policy_from_yaml


def read_ratio_policy(path: Path) -> RatioPolicy:
    """The policy in a YAML file.

    Raises:
        RecollectError: `CONFIG_INVALID` if it cannot be read, `POLICY_INVALID` if it is no policy.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecollectError(
            Reason.CONFIG_INVALID,
            f"cannot read the ratio policy ({type(error).__name__}).",
            where=str(path),
            fix="Name an existing UTF-8 file, or leave the policy out.",
        ) from None
    try:
        return policy_from_yaml(text)
    except RecollectError as error:
        where = f"{path}: {error.where}" if error.where else str(path)
        raise RecollectError(error.reason, error.message, where=where, fix=error.fix) from None
