from __future__ import annotations

import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.ledger import Ledger, canonical_json
from recollect.services.ledger.entry import GENESIS

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
BODIES = st.dictionaries(st.text(), JSON_VALUES, max_size=4)


def written(folder: Path, bodies: list[dict[str, Any]]) -> Path:
    with Ledger.open(folder) as ledger:
        for body in bodies:
            ledger.append("tested", body, actor="tester")
        return ledger.path


def reason_of(error: pytest.ExceptionInfo[RecollectError]) -> Reason:
    return error.value.reason


@settings(deadline=None, max_examples=40)
@given(bodies=st.lists(BODIES, max_size=5))
def test_what_is_appended_is_read_back_by_every_way_in(
    tmp_path_factory: pytest.TempPathFactory, bodies: list[dict[str, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    with Ledger.open(folder) as ledger:
        appended = [ledger.append("tested", body, actor="tester") for body in bodies]
        assert [dict(entry.body) for entry in appended] == bodies
        assert list(ledger.entries()) == list(Ledger.read(folder)) == appended
        assert ledger.verify() == len(bodies)
        for first in range(len(bodies) + 1):
            assert list(ledger.entries(first)) == appended[first:]
    with Ledger.open(folder) as ledger:
        assert list(ledger.entries()) == appended
        assert ledger.num_bytes_cut == 0


def test_entries_are_numbered_and_chained(tmp_path: Path) -> None:
    written(tmp_path, [{"n": n} for n in range(5)])
    entries = list(Ledger.read(tmp_path))
    assert [entry.sequence for entry in entries] == list(range(5))
    digests = [GENESIS, *(entry.digest for entry in entries)]
    assert [entry.previous for entry in entries] == digests[:-1]


def test_time_comes_from_the_given_clock_in_utc(tmp_path: Path) -> None:
    east = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=2)))
    with Ledger.open(tmp_path, clock=lambda: east) as ledger:
        assert ledger.append("tested", {}, actor="tester").time == "2026-01-02T01:04:05.000006Z"


def test_an_entry_does_not_change_with_the_body_it_was_made_of(tmp_path: Path) -> None:
    body: dict[str, Any] = {"list": [1]}
    with Ledger.open(tmp_path) as ledger:
        entry = ledger.append("tested", body, actor="tester")
        body["list"].append(2)
        assert entry.body == {"list": [1]}


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    path = written(tmp_path, [{"text": "ü"}, {"n": 1.5}, {}])
    sound = path.read_bytes()
    line_of = [sound[:place].count(b"\n") + 1 for place in range(len(sound))]
    for place in range(len(sound)):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        with pytest.raises(RecollectError) as error:
            list(Ledger.read(tmp_path))
        assert reason_of(error) is Reason.LEDGER_CORRUPT
        assert f"line {line_of[place]} " in error.value.message
        if place % 13 == 0 or sound[place] == ord("\n"):
            with pytest.raises(RecollectError) as error:
                Ledger.open(tmp_path)
            assert reason_of(error) is Reason.LEDGER_CORRUPT


def test_a_ledger_cut_anywhere_keeps_its_whole_entries_and_goes_on(tmp_path: Path) -> None:
    path = written(tmp_path, [{"n": n} for n in range(3)])
    sound = path.read_bytes()
    before = list(Ledger.read(tmp_path))
    ends = {place + off for place in range(len(sound)) if sound[place] == 10 for off in (-1, 0, 1)}
    for size in sorted({*range(0, len(sound), 17), *ends} - {len(sound)}):
        path.write_bytes(sound[:size])
        # An entry that lacks nothing but its line feed is whole.
        num_whole = sound[: size + 1].count(b"\n")
        with Ledger.open(tmp_path) as ledger:
            assert list(ledger.entries()) == before[:num_whole]
            kept = len(b"".join(sound.splitlines(keepends=True)[:num_whole]))
            assert ledger.num_bytes_cut == max(size - kept, 0)
            added = ledger.append("tested", {}, actor="tester")
        assert list(Ledger.read(tmp_path)) == [*before[:num_whole], added]


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: lines[1:],
        lambda lines: [lines[0], *lines[2:]],
        lambda lines: [lines[1], lines[0], *lines[2:]],
        lambda lines: [lines[0], *lines],
        lambda lines: [lines[0], b"\n", *lines[1:]],
        lambda lines: [b"\0" * 40 + b"\n", *lines[1:]],
        lambda lines: [lines[0].replace(b'"version":1', b'"version":2'), *lines[1:]],
        lambda lines: [lines[0].replace(b'"version"', b'"colour":1,"version"'), *lines[1:]],
        lambda lines: [lines[0].replace(b":0,", b":  0,"), *lines[1:]],
    ],
)
def test_lines_cannot_be_dropped_moved_or_rewritten(tmp_path: Path, damage: Any) -> None:
    path = written(tmp_path, [{"n": n} for n in range(4)])
    lines = path.read_bytes().splitlines(keepends=True)
    changed = damage(lines)
    assert changed != lines
    path.write_bytes(b"".join(changed))
    with pytest.raises(RecollectError) as error:
        list(Ledger.read(tmp_path))
    assert reason_of(error) is Reason.LEDGER_CORRUPT


def test_a_rewritten_entry_with_a_new_digest_breaks_the_chain_behind_it(tmp_path: Path) -> None:
    path = written(tmp_path, [{"n": 1}, {"n": 2}])
    other = written(tmp_path / "other", [{"n": 7}])
    _, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(other.read_bytes() + second)
    with pytest.raises(RecollectError, match="line 2 does not follow"):
        Ledger.open(tmp_path)


def test_verify_finds_damage_done_while_it_is_open(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        for n in range(3):
            ledger.append("tested", {"n": n}, actor="tester")
        os.truncate(ledger.path, ledger.path.stat().st_size - 60)
        with pytest.raises(RecollectError) as error:
            ledger.verify()
        assert reason_of(error) is Reason.LEDGER_CORRUPT


@pytest.mark.parametrize("value", [math.nan, math.inf, b"bytes", {1, 2}, object()])
def test_what_is_not_json_is_refused_and_leaves_no_trace(tmp_path: Path, value: Any) -> None:
    with Ledger.open(tmp_path) as ledger:
        with pytest.raises((TypeError, ValueError)):
            ledger.append("tested", {"value": value}, actor="tester")
        assert ledger.append("tested", {}, actor="tester").sequence == 0


def test_a_body_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        with pytest.raises(RecollectError) as error:
            ledger.append("tested", {"x": "a" * (33 * 2**20)}, actor="tester")
        assert reason_of(error) is Reason.INPUT_TOO_LARGE
        assert ledger.num_entries == 0


def test_a_second_writer_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    with Ledger.open(tmp_path):
        with pytest.raises(RecollectError, match=f"process {os.getpid()} ") as error:
            Ledger.open(tmp_path)
        assert reason_of(error) is Reason.STORAGE_LOCKED
    Ledger.open(tmp_path).close()


def test_threads_that_append_together_each_get_their_own_entry(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger, ThreadPoolExecutor(8) as pool:
        entries = list(
            pool.map(lambda n: ledger.append("tested", {"n": n}, actor="tester"), range(200))
        )
        assert [entry.body["n"] for entry in entries] == list(range(200))
        assert sorted(entry.sequence for entry in entries) == list(range(200))
        assert list(ledger.entries()) == sorted(entries, key=lambda entry: entry.sequence)
        assert ledger.verify() == 200


def test_a_failing_clock_fails_its_append_and_no_other(tmp_path: Path) -> None:
    times = iter([datetime(2026, 1, 1, tzinfo=UTC), None, datetime(2026, 1, 2, tzinfo=UTC)])
    with Ledger.open(tmp_path, clock=lambda: next(times)) as ledger:  # type: ignore[arg-type, return-value]
        ledger.append("tested", {}, actor="tester")
        with pytest.raises(AttributeError):
            ledger.append("tested", {}, actor="tester")
        assert ledger.append("tested", {}, actor="tester").sequence == 1
        assert ledger.verify() == 2


def test_a_closed_ledger_refuses(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path)
    ledger.close()
    ledger.close()
    with pytest.raises(RecollectError, match="closed"):
        ledger.append("tested", {}, actor="tester")


def test_reading_a_folder_without_a_ledger_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RecollectError) as error:
        list(Ledger.read(tmp_path))
    assert reason_of(error) is Reason.STORAGE_FAILED


@settings(deadline=None)
@given(value=JSON_VALUES)
def test_canonical_json_is_a_fixed_point(value: Any) -> None:
    text = canonical_json(value)
    assert canonical_json(json.loads(text)) == text
    assert b"\n" not in text
