"""Checks a data folder offline: the ledger's chain and every segment that it names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..mixer.errors import Reason, RecollectError
from .ledger import Ledger
from .replay.segment import read_table
from .replay.snapshot import Holdings
from .secret import secret_key

KEYS = ("store.key", "surrogate.key")
"""What the ids and the surrogates in the segments depend on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Verification:
    """What was found intact."""

    num_entries: int
    num_segments: int
    head: str
    """Digest of the last entry, in hex; empty for an empty ledger."""


def _check_strangers(folder: Path, known: set[str]) -> None:
    """A committed segment that no entry names means that the end of the ledger was cut off."""
    for path in sorted((folder / "segments").glob("*/*.parquet")):
        name = path.relative_to(folder).as_posix()
        if name not in known:
            raise RecollectError(
                Reason.LEDGER_CORRUPT,
                "a committed segment is not in the ledger: entries at its end are missing",
                where=name,
                fix="Restore the ledger that belongs to this folder.",
            )


def verify_folder(folder: Path) -> Verification:
    """Reads everything that is truth and checks it; needs no service and takes no lock.

    Raises:
        RecollectError: LEDGER_CORRUPT or STORAGE_CORRUPT, naming the place.
    """
    entries = list(Ledger.read(folder / "ledger"))
    holdings = Holdings()
    for entry in entries:
        holdings.apply(entry)
    for manifest in holdings.segments:
        read_table(folder, manifest)
    _check_strangers(folder, {manifest.path for manifest in holdings.segments})
    for name in KEYS if holdings.segments else ():
        secret_key(folder / "keys" / name, create=False)
    head = entries[-1].digest if entries else ""
    return Verification(num_entries=len(entries), num_segments=len(holdings.segments), head=head)
