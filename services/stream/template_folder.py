"""What a model folder says of its tokenizer: the file itself, chat template and special tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...mixer.errors import Reason, RecollectError

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
MAP_FILE = "special_tokens_map.json"
TEMPLATE_FILE = "chat_template.jinja"
FIX = (
    f"Point teacher.folder at a model whose tokenizer has a chat template ({TEMPLATE_FILE}, or "
    f"chat_template in {CONFIG_FILE}), as instruction-tuned models have; a base model's can be "
    "added to its folder."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnTemplate:
    """The chat template of a model folder."""

    text: str
    """In Jinja."""
    special_tokens: Mapping[str, str]
    """What the template knows by name, such as `bos_token`."""
    more_special: frozenset[str]
    """Tokens that are special and have no name."""


def read_tokenizer(path: Path) -> bytes:
    """The tokenizer of a model folder, or of a path to it; raises MODEL_UNUSABLE."""
    return _read(path / TOKENIZER_FILE if path.is_dir() else path)


def read_own_template(path: Path) -> OwnTemplate | None:
    """The chat template of a model folder, found where transformers finds it; None without one.

    Raises:
        RecollectError: MODEL_UNUSABLE.
    """
    folder = path if path.is_dir() else path.parent
    config = _read_object(folder / CONFIG_FILE)
    alone = folder / TEMPLATE_FILE
    text = _text(_read(alone), TEMPLATE_FILE) if alone.is_file() else _named(config)
    if text is None:
        return None
    named = dict(config)
    if "added_tokens_decoder" not in config:
        # Folders of older versions name their special tokens in a file of their own.
        named |= _read_object(folder / MAP_FILE)
    more = named.get("extra_special_tokens") or named.get("additional_special_tokens") or ()
    if isinstance(more, dict):
        named |= more
        more = ()
    special = {name: _token(value) for name, value in named.items() if name.endswith("_token")}
    return OwnTemplate(
        text=text,
        special_tokens={name: value for name, value in special.items() if value is not None},
        more_special=frozenset(token for item in more if (token := _token(item)) is not None),
    )


def unusable(message: str, *, where: str = TOKENIZER_FILE, fix: str = FIX) -> RecollectError:
    """The refusal of a model folder."""
    return RecollectError(Reason.MODEL_UNUSABLE, message, where=where, fix=fix)


def _named(config: Mapping[str, Any]) -> str | None:
    """The template that a configuration holds: one alone, or the default of several."""
    found = config.get("chat_template")
    if isinstance(found, list):
        found = {item.get("name"): item.get("template") for item in found if isinstance(item, dict)}
    if isinstance(found, dict):
        if not isinstance(found.get("default"), str):
            raise unusable(
                "None of its chat templates is named default.",
                where=CONFIG_FILE,
                fix=f"Copy the one to train with to {TEMPLATE_FILE} in the model folder.",
            )
        found = found["default"]
    return found if isinstance(found, str) and found else None


def _token(value: object) -> str | None:
    """A token that a configuration names: by its text, or by an object that has it."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) and value else None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise unusable(
            f"{file.name} cannot be read ({error.strerror}).", where=file.name
        ) from error


def _text(raw: bytes, name: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise unusable(f"{name} is not UTF-8.", where=name) from error


def _read_object(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        content = json.loads(_read(file))
    except ValueError as error:
        raise unusable(f"{file.name} is not JSON.", where=file.name) from error
    if not isinstance(content, dict):
        raise unusable(f"{file.name} is not a JSON object.", where=file.name)
    return content
