"""The short form of the canary campaign, and proof that it would find a leak."""

from __future__ import annotations

import base64
import gzip
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from recollect.services.privacy import scan_bytes

from .canaries import RESULT, Input, Outcome, Wanted, campaign, write_inputs
from .canary import FORMS, MAKERS, canaries
from .canary_table import PAGES, PLACES, shown
from .sandbox import Sandbox
from .verdict import Status, Verdicts, judge

SEED = int(os.environ.get("RECOLLECT_SEED", "1"))
WANTED = Wanted(canaries=240, kills=3, starts=1, crashes=1, client_kills=1)

Campaign = tuple[Sandbox, list[Input], Outcome, Verdicts]
slow = pytest.mark.slow
faults = pytest.mark.faults


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    folder = tmp_path_factory.mktemp("c")
    sandbox = Sandbox(folder / "b")
    inputs = write_inputs(folder / "inputs", WANTED.canaries, SEED, rows_per_file=80)
    outcome = campaign(sandbox, inputs, WANTED, SEED)
    return sandbox, inputs, outcome, judge(sandbox, inputs, outcome.refused)


@slow
@faults
def test_what_is_found_is_in_no_byte_of_a_service_that_is_killed(ended: Campaign) -> None:
    sandbox, _, outcome, verdicts = ended
    assert verdicts.leaks == ()
    assert sandbox.core_files() == []
    events = {name: outcome.counts[name] for name in ("kill", "start", "crash", "client")}
    assert events == {"kill": 3, "start": 1, "crash": 1, "client": 1}
    # The token caches were made, and their tokens read again as text.
    assert outcome.token_rows > 150
    assert len(verdicts.statuses) == WANTED.canaries
    assert len(verdicts.detected) > WANTED.canaries
    plain = [s for c, s in verdicts.statuses.items() if c.form in ("raw", "known value")]
    assert plain.count(Status.FOUND) > 0.8 * len(plain)
    whole_files = [s for c, s in verdicts.statuses.items() if c.form == "UTF-16 file"]
    assert set(whole_files) == {Status.REFUSED}


@slow
@faults
def test_the_harness_finds_what_a_service_lets_slip(ended: Campaign) -> None:
    sandbox, inputs, outcome, verdicts = ended
    found = (c for c, status in verdicts.statuses.items() if status is Status.FOUND)
    canary = next(c for c in found if c.kind == "e-mail" and c.form == "raw")
    log = sandbox.folder / "logs" / "slip.err"
    log.write_text(f'{{"event": "failed", "text": "{canary.value.swapcase()}"}}\n')
    try:
        leaks = judge(sandbox, inputs, outcome.refused).leaks
    finally:
        log.unlink()
    assert "e-mail, raw: logs/slip.err (bytes)" in leaks
    assert {leak.split(": ")[1] for leak in leaks} == {"logs/slip.err (bytes)"}


@slow
@faults
def test_the_harness_finds_what_is_stored_other_than_the_detector_says(ended: Campaign) -> None:
    sandbox, inputs, outcome, _ = ended
    given = next(g for g in inputs if g.source not in outcome.refused)
    (path,) = (sandbox.data / "segments" / given.source).glob("*.parquet")
    kept = path.read_bytes()
    raw = [{"messages": line} for line in given.path.read_text(encoding="utf-8").splitlines()]
    parquet.write_table(pa.Table.from_pylist(raw), path, compression="zstd")
    try:
        with pytest.raises(AssertionError):
            judge(sandbox, inputs, outcome.refused)
    finally:
        path.write_bytes(kept)


def leaky_files(folder: Path, text: str) -> Iterator[str]:
    """A file in each way in which a service could let a text slip; its name."""
    table = pa.table({"text": pa.array([text] * 9).dictionary_encode()})
    parquet.write_table(table, folder / "segment", compression="zstd")
    plain = pa.table({"text": [text] * 9})
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_file(folder / "cache", plain.schema, options=options) as writer:
        writer.write_table(plain)
    half = (folder / "segment").read_bytes()[:-8]
    contents = {
        "log": text.swapcase().encode(),
        "wide": b"x" + text.encode("utf-16-be"),
        "ledger": json.dumps(json.dumps({"text": text})).encode(),
        "zip": gzip.compress(text.encode()),
        "half": half,
    } | {f"base64-{n}": base64.b64encode(b"x" * n + text.encode() + b"xx") for n in range(3)}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    yield from ("segment", "cache", *contents)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_canary_is_found_in_every_file_that_it_could_slip_into(kind: str, tmp_path: Path) -> None:
    several = list(canaries(len(FORMS) * len(MAKERS), SEED))
    values = [canary.value for canary in several]
    place = next(n for n, canary in enumerate(several) if canary.kind == kind)
    files = set(leaky_files(tmp_path, f"said {values[place]} to us"))
    leaks = scan_bytes(tmp_path, values)
    assert {leak.value for leak in leaks} == {place}
    assert {leak.file for leak in leaks} == files


@pytest.mark.parametrize("refused", [False, True])
def test_a_core_file_would_be_found_and_is_not_written(refused: bool, tmp_path: Path) -> None:
    value = next(iter(canaries(1, SEED))).value
    program = (
        "import os, sys\nfrom recollect.services.core_dumps import refuse_core_dumps\n"
        f"{'refuse_core_dumps()' if refused else ''}\n"
        # Not as it stands in the arguments, which a core file holds as well.
        "held = bytes.fromhex(sys.argv[1]).decode() + ' is held'\nos.abort()"
    )

    def allow() -> None:
        most = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (most, most))

    words = [sys.executable, "-c", program, value.encode().hex()]
    subprocess.run(words, cwd=tmp_path, preexec_fn=allow, check=False)
    cores = list(tmp_path.glob("core*"))
    if refused:
        assert cores == []
        return
    if not cores:
        pytest.skip("this kernel puts core files elsewhere")
    assert {leak.file for leak in scan_bytes(tmp_path, [value])} == {cores[0].name}


def test_no_canary_can_be_taken_for_another() -> None:
    several = list(canaries(1_200, SEED))
    assert several == list(canaries(1_200, SEED))
    assert {(c.kind, c.form) for c in several} == {(k, f) for k in MAKERS for f in FORMS}
    strings = [{string.lower() for string in canary.strings} for canary in several]
    everything = "\n".join(string for own in strings for string in own)
    for own in strings:
        for string in own:
            assert len(string) >= 8
            assert everything.count(string) == sum(other.count(string) for other in own), string


def test_the_docs_say_what_the_last_campaign_came_to() -> None:
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    assert result["leaks"] == []
    for name, told in shown(result).items():
        assert PLACES[name].findall((PAGES / name).read_text(encoding="utf-8")) == [told]
