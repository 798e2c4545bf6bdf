"""Configuration: file, environment and flag; refusals that name the field."""

import json
from pathlib import Path

import pytest

from recollect.mixer.errors import Reason, RecollectError
from recollect.services.config import Settings, json_schema, load_settings, to_json


def test_the_file_is_read_and_the_rest_is_default(tmp_path: Path) -> None:
    path = tmp_path / "recollect.yaml"
    path.write_text("teacher: {threads: 3}\n", encoding="utf-8")
    settings = load_settings(path)
    assert settings.teacher.threads == 3
    assert settings.address == Settings().address


def test_environment_beats_file_and_flag_beats_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "recollect.yaml"
    path.write_text("teacher: {threads: 3, temperature: 1}\n", encoding="utf-8")
    monkeypatch.setenv("RECOLLECT_TEACHER__THREADS", "5")
    assert load_settings(path).teacher.threads == 5
    settings = load_settings(path, ["teacher.threads=7"])
    assert settings.teacher.threads == 7
    assert settings.teacher.temperature == 1


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("teacher: {threads: 0}", "teacher.threads"),
        ("teacher: {thread: 1}", "teacher.thread"),
        ("nonsense: 1", "nonsense"),
        ("version: 2", "version"),
        ("store: {near_duplicate_threshold: 1.5}", "store.near_duplicate_threshold"),
        ("[1, 2]", "mapping"),
        ("a: [1", ":1:"),
    ],
)
def test_a_wrong_file_is_refused_by_field(tmp_path: Path, text: str, place: str) -> None:
    path = tmp_path / "recollect.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecollectError) as caught:
        load_settings(path)
    assert caught.value.reason is Reason.CONFIG_INVALID
    assert place in str(caught.value)
    assert caught.value.fix


@pytest.mark.parametrize(
    "overrides",
    [["teacher=3", "teacher.threads=4"], ["teacher.threads.x=1"], ["teacher.threads=[1"]],
)
def test_a_wrong_flag_is_refused(overrides: list[str]) -> None:
    with pytest.raises(RecollectError) as caught:
        load_settings(None, overrides)
    assert caught.value.reason is Reason.CONFIG_INVALID


def test_an_address_in_brackets_is_no_yaml(tmp_path: Path) -> None:
    assert load_settings(None, ["address=[::1]:7431"]).address == "[::1]:7431"


def test_a_wrong_environment_and_a_wrong_encoding_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"address: \xe9")
    with pytest.raises(RecollectError, match="UTF-8"):
        load_settings(path)
    monkeypatch.setenv("RECOLLECT_TEACHER", "abc")
    with pytest.raises(RecollectError, match="environment"):
        load_settings(None)


def test_a_missing_file_and_a_malformed_flag_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecollectError, match="No such file"):
        load_settings(tmp_path / "none.yaml")
    with pytest.raises(RecollectError, match="key=value"):
        load_settings(None, ["teacher.threads"])


def test_the_effective_values_read_back(tmp_path: Path) -> None:
    settings = load_settings(None, ["teacher.threads=4", "address=127.0.0.1:1"])
    path = tmp_path / "effective.yaml"
    path.write_text(to_json(settings), encoding="utf-8")
    assert load_settings(path) == settings


def test_every_setting_is_in_schema_and_docs() -> None:
    schema = json.loads(json.dumps(json_schema()))
    reference = Path(__file__).parents[2] / "docs" / "reference" / "configuration.md"
    text = reference.read_text(encoding="utf-8")
    names = set(schema["properties"])
    for section in schema["$defs"].values():
        names |= set(section.get("properties", {}))
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []
