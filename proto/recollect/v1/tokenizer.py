"""The tokenizer of a model folder: the file itself, its chat template, and the digest of both.

A service seals the digest into a plan, and a trainer compares it with that of the model it trains.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEMPLATE_VERSION = "recollect-chat-1"
"""Changes whenever the same messages would render to other tokens with our turn markers."""
OWN_TEMPLATE_VERSION = "recollect-own-template-1"
"""Changes whenever they would with a chat template of the tokenizer's own."""
MARKERS = frozenset({"<|system|>", "<|user|>", "<|assistant|>", "<|text|>", "<|end|>"})
"""Our turn markers: a tokenizer that has all of them as special tokens renders with them."""

TOKENIZER_FILE = "tokenizer.json"
CONFIG_FILE = "tokenizer_config.json"
MAP_FILE = "special_tokens_map.json"
TEMPLATE_FILE = "chat_template.jinja"
FIX = (
    f"Point teacher.folder at a model whose tokenizer has a chat template ({TEMPLATE_FILE}, or "
    f"chat_template in {CONFIG_FILE}), as instruction-tuned models have; a base model's can be "
    "added to its folder."
)


class UnusableTokenizer(ValueError):
    """A tokenizer that cannot be read, or not rendered with."""

    def __init__(self, message: str, *, where: str = TOKENIZER_FILE, fix: str = FIX) -> None:
        """What is wrong with it, in which file, and what to do."""
        super().__init__(message)
        self.where = where
        self.fix = fix


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
    """The tokenizer of a model folder, or of a path to it; raises UnusableTokenizer."""
    return _read(path / TOKENIZER_FILE if path.is_dir() else path)


def read_own_template(path: Path) -> OwnTemplate | None:
    """The chat template of a model folder, found where transformers finds it; None without one.

    Raises:
        UnusableTokenizer: if a file cannot be read.
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


def has_our_markers(raw: bytes) -> bool:
    """Whether a tokenizer has all of our turn markers as special tokens."""
    try:
        added = json.loads(raw)["added_tokens"]
        return {token["content"] for token in added if token["special"]} >= MARKERS
    except (ValueError, LookupError, TypeError) as error:
        raise UnusableTokenizer(
            f"{TOKENIZER_FILE} is not one of the tokenizers library."
        ) from error


def digest_of(raw: bytes, own: OwnTemplate | None) -> str:
    """SHA-256 in hex over a tokenizer and its way of rendering.

    Args:
        raw: `tokenizer.json`.
        own: the chat template it is rendered with; None for our turn markers.
    """
    digest = hashlib.sha256(raw)
    if own is None:
        digest.update(TEMPLATE_VERSION.encode())
    else:
        tokens = dict(own.special_tokens), sorted(own.more_special)
        parts = (OWN_TEMPLATE_VERSION, own.text, *tokens)
        digest.update(json.dumps(parts, sort_keys=True).encode())
    return digest.hexdigest()


def tokenizer_digest(path: Path) -> str:
    """The digest of a model folder's tokenizer, or of the `tokenizer.json` that a path names.

    Raises:
        UnusableTokenizer: if a file cannot be read.
    """
    raw = read_tokenizer(path)
    return digest_of(raw, None if has_our_markers(raw) else read_own_template(path))


def _named(config: Mapping[str, Any]) -> str | None:
    """The template that a configuration holds: one alone, or the default of several."""
    found = config.get("chat_template")
    if isinstance(found, list):
        found = {item.get("name"): item.get("template") for item in found if isinstance(item, dict)}
    if isinstance(found, dict):
        if not isinstance(found.get("default"), str):
            raise UnusableTokenizer(
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
        raise UnusableTokenizer(
            f"{file.name} cannot be read ({error.strerror}).", where=file.name
        ) from error


def _text(raw: bytes, name: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnusableTokenizer(f"{name} is not UTF-8.", where=name) from error


def _read_object(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        content = json.loads(_read(file))
    except ValueError as error:
        raise UnusableTokenizer(f"{file.name} is not JSON.", where=file.name) from error
    if not isinstance(content, dict):
        raise UnusableTokenizer(f"{file.name} is not a JSON object.", where=file.name)
    return content
