"""Measures as they come from the service, whose word for them is not taken on trust."""

from __future__ import annotations

from collections.abc import Iterable

from ..mixer.errors import Reason, RecollectError
from ..mixer.measures import Measures
from ..v1.measures import decode


def read_measures(payloads: Iterable[bytes]) -> Measures:
    """The measures of a source from all payloads, in their order.

    Raises:
        RecollectError: MEASURES_DIFFER.
    """
    try:
        columns = decode(payloads)
    except ValueError as error:
        raise RecollectError(
            Reason.MEASURES_DIFFER,
            "What the service sent as the measures of a source cannot be read.",
            fix="Do not train: the server is not to be trusted.",
        ) from error
    return Measures(**columns._asdict())
