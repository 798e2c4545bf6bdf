"""De-identifies a Hugging Face data set: what `datasets.Dataset.map` calls with a batch of rows."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..mixer.errors import RecollectError
from .deid_rows import RowDeidentifier, RowOptions
from .durable import storage

_log = logging.getLogger(__name__)


class DatasetDeidentifier:
    """Rows in, rows with surrogates out; a row that cannot be de-identified does not come out.

    Call `map` with `batched=True` and `remove_columns=dataset.column_names`: columns that nobody
    looked at are not to come along, and rows may be fewer than before.

        dataset.map(DatasetDeidentifier(options), batched=True,
                    remove_columns=dataset.column_names, num_proc=4)

    Columns of the result: those of `options.keep`, the de-identified ones, `findings` (JSON: how
    many of which type), `policy`, and `spans` (JSON) where `options.spans` asks for them.

    Rows that do not come out are counted in the log, by reason. To have them listed as well, name
    a file and call `map` with `with_indices=True`.

    Args:
        options: what of a row is read, and what is written.
        quarantine: file that a line of JSON is added to for each row that does not come out: its
            `row`, counted from 0, where indices are given; `reason`, `where` and `message`.
    """

    def __init__(self, options: RowOptions, quarantine: Path | None = None) -> None:
        self.options = options
        self.quarantine = quarantine
        self._rows: RowDeidentifier | None = None

    def __call__(
        self, batch: Mapping[str, Sequence[Any]], indices: Sequence[int] | None = None
    ) -> dict[str, list[Any]]:
        """A batch of columns as another.

        Raises:
            RecollectError: DEIDENTIFICATION_FAILED where the self-test fails; STORAGE_FULL or
                STORAGE_FAILED where the quarantine cannot be written.
        """
        if self._rows is None:
            self._rows = RowDeidentifier(self.options)
        names = list(batch)
        new: list[dict[str, Any]] = []
        lost: list[dict[str, Any]] = []
        for place, values in enumerate(zip(*batch.values(), strict=True)):
            try:
                row, _ = self._rows.replaced(dict(zip(names, values, strict=True)))
            except RecollectError as error:
                where = {} if indices is None else {"row": indices[place]}
                told = {"reason": error.reason.name, "where": error.where, "message": error.message}
                lost.append(where | told)
                continue
            for name in ("findings", "spans"):
                if name in row:
                    row[name] = json.dumps(row[name])
            new.append(row)
        self._keep_out(lost)
        columns = {name: None for row in new for name in row}
        return {name: [row.get(name) for row in new] for name in columns}

    def _keep_out(self, lost: Sequence[Mapping[str, Any]]) -> None:
        if not lost:
            return
        reasons = Counter(entry["reason"] for entry in lost)
        told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        _log.warning("rows that do not come out: %s", told)
        if self.quarantine is not None:
            lines = "".join(json.dumps(entry) + "\n" for entry in lost)
            # Several processes add to it: what is appended in one write is not torn.
            with storage(self.quarantine), open(self.quarantine, "ab", opener=_private) as file:
                file.write(lines.encode())

    def __getstate__(self) -> dict[str, Any]:
        """What it was made of alone: recognizers are loaded anew in each process."""
        return {"options": self.options, "quarantine": self.quarantine, "_rows": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """From another process."""
        self.__dict__.update(state)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
