"""De-identifies the rows of a JSONL file and goes on where it was cut off, whoever does the work.

A row comes out with its text replaced, or goes into quarantine by its number and the reason. What
is written until the end lies beside the result under other names, so that a file under its own name
is always whole.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, Protocol

from ..mixer.errors import Reason, RecollectError
from .deid_fields import absent_fields, named_fields, require_fields
from .deid_pool import RowPool
from .deid_rows import Answered, RowLayout, RowOptions, read_row, short_key_id
from .deid_second_pass import Drafts, SecondPass
from .durable import atomic_file, storage
from .policy_version import PolicyVersion

_GZIP = b"\x1f\x8b"
GROUP_ROWS = 64


class RowEngine(Protocol):
    """What de-identifies lines: this process, a few of them, or a service."""

    @property
    def digest(self) -> str:
        """Equal digest, equal answers."""
        ...

    @property
    def layout(self) -> RowLayout:
        """What of a row is read and written."""
        ...

    @property
    def key_id(self) -> str:
        """Stands for the key that stand-ins are drawn under."""
        ...

    @property
    def policy(self) -> PolicyVersion:
        """What the answers are made by."""
        ...

    @property
    def second(self) -> SecondPass | None:
        """What becomes of the rows once all were read; None where they are written as they are."""
        ...

    def answers(self, groups: Iterator[list[bytes]]) -> Generator[Answered, None, None]:
        """Each group of lines, in order, with an answer for each of its lines."""
        ...


@dataclass(kw_only=True)
class Applied:
    """What became of a file."""

    num_rows: int = 0
    num_written: int = 0
    num_bytes: int = 0
    """Bytes of the input that were read."""
    quarantined: Counter[str] = field(default_factory=Counter)
    """Rows by reason."""
    findings: Counter[str] = field(default_factory=Counter)
    """What was replaced, by type."""
    absent: Counter[str] = field(default_factory=Counter)
    """Rows that were written and lack a field that was named, by field."""
    anonymity: dict[str, Any] | None = None
    """What the second pass did, where a policy asks for k-anonymity; see `Anonymised`."""


def apply_rows(
    source: Path,
    target: Path,
    options: RowOptions,
    *,
    workers: int = 1,
    overwrite: bool = False,
    tell: Callable[[Applied], None] = lambda _: None,
) -> Applied:
    """De-identifies a JSONL file here; see `apply_through`.

    Args:
        source: one JSON object a line.
        target: where the rows are written.
        options: what of a row is read and written, by which policy and key.
        workers: processes that work; 1 works in this one.
        overwrite: whether a target may be replaced that was made under another key.
        tell: called with the counts so far after every group.

    Raises:
        RecollectError: as `apply_through`; DEIDENTIFICATION_FAILED where the self-test fails.
    """
    engine = RowPool(options, workers)
    return apply_through(source, target, engine, overwrite=overwrite, tell=tell)


def apply_through(
    source: Path,
    target: Path,
    engine: RowEngine,
    *,
    overwrite: bool = False,
    tell: Callable[[Applied], None] = lambda _: None,
) -> Applied:
    """De-identifies a JSONL file; `target` appears when every row was dealt with.

    Rows that could not be are listed in `target` with `.quarantine.jsonl` behind it, by number and
    reason. Called again after a crash, it goes on behind the last group that was finished, if
    neither input, policy, key nor fields have changed since.

    Args:
        source: one JSON object a line.
        target: where the rows are written.
        engine: what does the work.
        overwrite: whether a target may be replaced that was made under another key.
        tell: called with the counts so far after every group.

    Raises:
        RecollectError: INPUT_NOT_FOUND; CONFIG_INVALID where both are one file, or the target
            holds stand-ins of another key; INPUT_UNKNOWN_FORMAT where a field that was named is in
            no row; STORAGE_FULL; STORAGE_FAILED; and what the engine raises.
    """
    require_files(source, target)
    require_fields(source, engine.layout)
    if not overwrite:
        require_key(target, engine.key_id)
    names = tuple(named_fields(engine.layout))
    job = _Job(source, target, engine.digest)
    with storage(target), ExitStack() as stack:
        done = job.resume()
        lines = stack.enter_context(source.open("rb"))
        out = stack.enter_context(job.part.open("r+b"))
        lost = stack.enter_context(job.lost.open("r+b"))
        lines.seek(done.num_bytes)
        out.seek(0, os.SEEK_END)
        lost.seek(0, os.SEEK_END)
        groups = iter(lambda: list(islice(lines, GROUP_ROWS)), [])
        answers = stack.enter_context(closing(engine.answers(groups)))
        for answered in answers:
            _write(answered, done, out, lost, engine)
            for line, (new, _) in zip(*answered, strict=True):
                done.absent.update(absent_fields(line, names if new is not None else ()))
            job.note(done, out, lost)
            tell(done)
    with storage(target):
        job.finish(done, engine)
    return done


def require_files(source: Path, target: Path) -> None:
    """Refuses an input that is none, and one that would be overwritten.

    Raises:
        RecollectError: INPUT_NOT_FOUND, INPUT_ENCODING, CONFIG_INVALID.
    """
    if not source.is_file():
        raise RecollectError(
            Reason.INPUT_NOT_FOUND, "there is no such file", where=str(source), fix="Name a file."
        )
    if target.exists() and target.samefile(source):
        raise RecollectError(
            Reason.CONFIG_INVALID,
            "the result would take the place of the input",
            where=str(target),
            fix="Name another file; delete the input yourself once you have looked at the result.",
        )
    with storage(source), source.open("rb") as stream:
        if stream.read(2) == _GZIP:
            raise RecollectError(
                Reason.INPUT_ENCODING,
                "the file is compressed (gzip)",
                where=str(source),
                fix="Decompress it first: rows are found again by their place in it.",
            )


def require_key(target: Path, key: str) -> None:
    """Refuses a target that holds stand-ins of another key, or that is something else altogether.

    Raises:
        RecollectError: CONFIG_INVALID.
    """
    with storage(target):
        if not target.exists() or not target.stat().st_size:
            return
        with target.open("rb") as lines:
            first = lines.readline()
    try:
        made_under = read_row(first).get("key")
    except RecollectError:
        made_under = None
    if made_under != short_key_id(key):
        raise RecollectError(
            Reason.CONFIG_INVALID,
            "there is such a file, and it was made under another key, or by something else: "
            "whoever is in it would have another stand-in from now on",
            where=str(target),
            fix="Give the key that made it with --key-file, name another file, or replace it with "
            "--overwrite.",
        )


def _write(
    answered: Answered, done: Applied, out: IO[bytes], lost: IO[bytes], engine: RowEngine
) -> None:
    """Writes what became of a group of lines, and counts it."""
    for line, (new, told) in zip(*answered, strict=True):
        done.num_rows += 1
        done.num_bytes += len(line)
        if new is not None:
            done.num_written += 1
            done.findings.update(told)
            out.write(written_line(done.num_rows, new, engine))
        elif line.strip():
            done.quarantined[told["reason"]] += 1
            lost.write(quarantine_line(done.num_rows, told, engine))


def written_line(row: int, new: str, engine: RowEngine) -> bytes:
    """A row as it is written, or kept until a second pass."""
    return new.encode() + b"\n" if engine.second is None else engine.second.line(row, new)


def quarantine_line(row: int, told: Mapping[str, Any], engine: RowEngine) -> bytes:
    """What is listed of a row that was kept out: never its text."""
    made = {"key": short_key_id(engine.key_id), "layout": engine.layout.layout_id}
    return json.dumps({"row": row, **told, **made}).encode() + b"\n"


def quarantine_file(target: Path) -> Path:
    """Where the rows are listed that were kept out of a result."""
    return target.with_name(target.name + ".quarantine.jsonl")


def state_file(target: Path) -> Path:
    """Where it is noted how far a job is; gone once the result is whole."""
    return target.with_name(target.name + ".state")


class _Job:
    """The files of one job, and how far it is."""

    def __init__(self, source: Path, target: Path, digest: str) -> None:
        self._target = target
        self.part = target.with_name(target.name + ".part")
        self.lost = target.with_name(target.name + ".quarantine.part")
        self._state = state_file(target)
        stat = source.stat()
        self._name = [str(source.resolve()), stat.st_size, stat.st_mtime_ns, digest]

    def resume(self) -> Applied:
        """How far the job was, with the files cut to what was noted."""
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
            if state["name"] != self._name:
                raise ValueError
            sizes = state["sizes"]
            done = Applied(**state["done"])
            done.quarantined, done.findings = Counter(done.quarantined), Counter(done.findings)
            done.absent = Counter(done.absent)
            for path, size in zip((self.part, self.lost), sizes, strict=True):
                if path.stat().st_size < size:
                    raise ValueError
                os.truncate(path, size)
        except (OSError, ValueError, KeyError, TypeError):
            for path in (self.part, self.lost):
                make_empty(path)
            return Applied()
        return done

    def note(self, done: Applied, out: IO[bytes], lost: IO[bytes]) -> None:
        """Make what was written durable, then say so."""
        for file in (out, lost):
            file.flush()
            os.fsync(file.fileno())
        counts = {
            "num_rows": done.num_rows,
            "num_written": done.num_written,
            "num_bytes": done.num_bytes,
            "quarantined": done.quarantined,
            "findings": done.findings,
            "absent": done.absent,
        }
        state = {"name": self._name, "sizes": [out.tell(), lost.tell()], "done": counts}
        with atomic_file(self._state) as file:
            file.write(json.dumps(state).encode())

    def finish(self, done: Applied, engine: RowEngine) -> None:
        """Give the files their names; where there is a second pass, those that it writes."""
        part, lost = self.part, self.lost
        if engine.second is not None:
            part, lost = (path.with_name(f"{path.name}.k") for path in (part, lost))
            drafts = Drafts(self.part, self.lost, partial(quarantine_line, engine=engine))
            engine.second.write(drafts, part, lost, done)
        quarantine = quarantine_file(self._target)
        if done.quarantined:
            os.replace(lost, quarantine)
        else:
            lost.unlink()
            quarantine.unlink(missing_ok=True)
        os.replace(part, self._target)
        for path in (self.part, self.lost):
            path.unlink(missing_ok=True)
        self._state.unlink(missing_ok=True)


def make_empty(path: Path) -> None:
    """An empty file that its owner alone may read."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
