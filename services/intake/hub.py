"""Data sets of the Hugging Face `datasets` library: streamed by name or folder, or saved."""

from __future__ import annotations

import atexit
import gc
import weakref
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from ...mixer.errors import Reason, RecollectError
from .limits import IntakeLimits, num_content_bytes
from .lines import too_large
from .row import BadRow, Row, Rows

PREFIX = "datasets:"
_SAVED = ("state.json", "dataset_dict.json")
"""One of these stands in every folder that `save_to_disk` wrote."""

_unfinished: weakref.WeakSet[Generator[Mapping[str, object]]] = weakref.WeakSet()
"""Streams that have been begun and not ended."""


def parse_location(location: str) -> tuple[str, str | None, str]:
    """Name or folder, configuration and split of `datasets:NAME[@CONFIGURATION][:SPLIT]`."""
    name = location.removeprefix(PREFIX)
    split = "train"
    if not Path(name).exists() and ":" in name:
        name, _, split = name.rpartition(":")
    if Path(name).exists():
        return name, None, split
    name, _, configuration = name.partition("@")
    return name, configuration or None, split


def read_dataset(
    location: str, limits: IntakeLimits, select: Callable[[Collection[str]], list[str]]
) -> Rows:
    """The rows of a data set, streamed; numbered from 1.

    Args:
        location: `datasets:NAME_OR_FOLDER[:SPLIT]`, of split `train` if none is named.
        limits: bounds of a row.
        select: from the names of all columns those that are to be read.

    Raises:
        RecollectError: INPUT_NOT_FOUND if it cannot be loaded, INPUT_MALFORMED if a file of it
            cannot be read, PACKAGE_MISSING without the library.
    """
    name, configuration, split = parse_location(location)
    dataset = _load(name, configuration, split)
    if dataset.column_names:
        dataset = dataset.select_columns(select(dataset.column_names))
    where = f"{Path(name).name}:{split}"
    for number, columns in enumerate(_iterate(dataset, where), 1):
        if num_content_bytes(columns) > limits.max_row_bytes:
            yield BadRow(number=number, error=too_large(f"{where}:{number}", limits))
        else:
            yield Row(number=number, columns=columns)


def _load(name: str, configuration: str | None, split: str) -> Any:
    """The data set; what `datasets` raises is told by type alone, for it may quote rows."""
    try:
        import datasets
    except ImportError:
        raise RecollectError(
            Reason.PACKAGE_MISSING,
            "the package datasets is missing.",
            fix="pip install 'recollect[server]'",
        ) from None
    try:
        if any((Path(name) / mark).exists() for mark in _SAVED):
            loaded = datasets.load_from_disk(name)
            return loaded[split] if isinstance(loaded, datasets.DatasetDict) else loaded
        return datasets.load_dataset(name, configuration, split=split, streaming=True)
    except Exception as failure:
        kind = type(failure).__name__
    raise RecollectError(
        Reason.INPUT_NOT_FOUND,
        f"the data set or its split '{split}' cannot be loaded ({kind}).",
        where=Path(name).name,
        fix="Check its name, configuration and split, and that it can be reached.",
    )


def _iterate(dataset: Any, where: str) -> Iterator[Mapping[str, object]]:
    rows = iter(dataset)
    _unfinished.add(rows)
    kind = ""
    try:
        while not kind:
            try:
                columns = next(rows, None)
            except Exception as failure:
                kind = type(failure).__name__
            else:
                if columns is None:
                    return
                yield columns
    finally:
        _finish(rows)
    raise RecollectError(
        Reason.INPUT_MALFORMED, f"a file of the data set cannot be read ({kind}).", where=where
    )


def _finish(rows: Generator[Mapping[str, object]]) -> None:
    """Let go of the data set's own generators, which hang in cycles, and of Arrow's threads.

    A Parquet stream that is broken off and left to the end of the process aborts or hangs it
    (seen with datasets 5.2): its threads then outlive the modules that they call.
    """
    rows.close()
    _unfinished.discard(rows)
    gc.collect()


@atexit.register
def _finish_all() -> None:
    for rows in list(_unfinished):
        _finish(rows)
