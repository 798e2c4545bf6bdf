"""How well the subjects of a de-identified file hide among one another: its text, read again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..mixer.errors import Reason, RecollectError
from .deid_rows import RowLayout, opened_row, read_row
from .durable import storage
from .privacy.anonymity.seal import RowSeal, bound_to

if TYPE_CHECKING:
    from .privacy.residual.quasi import Anonymity

_ROW_HEX_DIGITS = 16


def file_anonymity(
    file: Path,
    key: bytes,
    fields: tuple[str, ...],
    k: int,
    tell: Callable[[int], None] = lambda _: None,
) -> Anonymity:
    """Counts subjects by how many are alike in what the file tells of them, as exactly as it does.

    What the second pass says is left is taken as said, and whatever else a detector finds is added.
    Rows of nobody known are passed over.

    Args:
        file: what `deid apply` wrote by a policy that says `k_anonymity`.
        key: the key that made it.
        fields: fields with text, as they were named then.
        k: how many subjects should be alike.
        tell: called with the bytes read so far.

    Raises:
        RecollectError: INPUT_NOT_FOUND; INPUT_MALFORMED naming the row that is not such a row, or
            was sealed under another key; STORAGE_FAILED.
    """
    from .privacy.residual.quasi import AS_IT_IS, AnonymityTally

    if not file.is_file():
        raise RecollectError(Reason.INPUT_NOT_FOUND, "there is no such file", where=str(file))
    seal, layout = RowSeal(key), RowLayout(fields=fields)
    tally = AnonymityTally(lambda _, __: (), AS_IT_IS)
    num_bytes = 0
    with storage(file), file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = read_row(line)
                texts = opened_row(row, layout).texts
                sealed = seal.opened(bound_to(texts), _sealed(row.get("sealed")))
            except RecollectError as error:
                raise RecollectError(
                    error.reason, error.message, where=f"{file}:{number}", fix=error.fix
                ) from None
            if sealed["subject"] is not None:
                name = f"{number:0{_ROW_HEX_DIGITS}x}"
                places = [tuple(one) for one in sealed["stand_ins"]]
                left = [tuple(one) for one in sealed["left"]]
                tally.add(sealed["subject"], name, texts, places, left)
            num_bytes += len(line)
            tell(num_bytes)
    return tally.outcome(k)


def _sealed(value: object) -> str:
    if not isinstance(value, str):
        raise RecollectError(
            Reason.INPUT_MALFORMED,
            "the row does not say whom it is about",
            fix="Make the file with `recollect deid apply --k --key-file`.",
        )
    return value
