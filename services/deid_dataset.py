"""De-identifies a Hugging Face data set: what `datasets.Dataset.map` calls with a batch of rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..mixer.errors import RecollectError
from .deid_rows import RowDeidentifier, RowOptions


class DatasetDeidentifier:
    """Rows in, rows with surrogates out; a row that cannot be de-identified does not come out.

    Call `map` with `batched=True` and `remove_columns=dataset.column_names`: columns that nobody
    looked at are not to come along, and rows may be fewer than before.

        dataset.map(DatasetDeidentifier(options), batched=True,
                    remove_columns=dataset.column_names, num_proc=4)

    Columns of the result: those of `options.keep`, the de-identified ones, `findings` (JSON: how
    many of which type), `policy`, and `spans` (JSON) where `options.spans` asks for them.

    Args:
        options: what of a row is read, and what is written.
    """

    def __init__(self, options: RowOptions) -> None:
        self.options = options
        self._rows: RowDeidentifier | None = None

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """A batch of columns as another."""
        if self._rows is None:
            self._rows = RowDeidentifier(self.options)
        names = list(batch)
        new: list[dict[str, Any]] = []
        for values in zip(*batch.values(), strict=True):
            try:
                row, _ = self._rows.replaced(dict(zip(names, values, strict=True)))
            except RecollectError:
                continue
            for name in ("findings", "spans"):
                if name in row:
                    row[name] = json.dumps(row[name])
            new.append(row)
        columns = {name: None for row in new for name in row}
        return {name: [row.get(name) for row in new] for name in columns}

    def __getstate__(self) -> dict[str, Any]:
        """Options alone: recognizers are loaded anew in each process."""
        return {"options": self.options, "_rows": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """From another process."""
        self.__dict__.update(state)
