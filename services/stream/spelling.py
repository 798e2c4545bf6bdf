"""Spelling: the tokens of what a chat template wrote, and which of them its spans cover."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, Encoding, Tokenizer

from .template_controls import Controls

Spans = Sequence[tuple[int, int]]
"""Places of characters: first, and the one after the last."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a template wrote."""

    text: str
    learnt: Spans
    """Rising."""


@dataclass(frozen=True, slots=True)
class Spelt:
    """Tokens of a text."""

    ids: npt.NDArray[np.int32]
    mask: npt.NDArray[np.bool_]


class Spelling:
    """A tokenizer that finds control tokens where a template wrote them and nowhere else."""

    def __init__(self, content: Mapping[str, Any], ids: Mapping[str, int], known: Controls) -> None:
        """Makes the tokenizer.

        Args:
            content: `tokenizer.json`.
            ids: the ids of control tokens and all others that are not found by splitting words.
            known: the control tokens.
        """
        self._known = known
        self._tokenizer = Tokenizer.from_str(
            json.dumps(
                {
                    **content,
                    "added_tokens": [],
                    # It trims the places of tokens; what it puts around a text is for `Documents`.
                    "post_processor": None,
                    "truncation": None,
                    "padding": None,
                    "model": _renamed(content["model"], known.aliases),
                }
            )
        )
        flags = {item["content"]: item for item in content.get("added_tokens") or ()}
        names = {text: known.aliases.get(text, text) for text in ids}
        added = [_added(flags.get(text, {}), name) for text, name in names.items()]
        self._tokenizer.add_tokens(added)
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=True)
        self._ids = np.arange(1 + max(vocabulary.values()), dtype=np.int32)
        for text, name in names.items():
            self._ids[vocabulary[name]] = ids[text]

    def spelt(self, texts: Sequence[Written]) -> list[Spelt]:
        """The tokens of texts, encoded at once.

        A token is learnt where it has a character of a span: one that begins before a span holds
        the first of what is learnt, and nothing else would teach that.
        """
        spelled = [
            self._known.aliased(written.text, [place for span in written.learnt for place in span])
            for written in texts
        ]
        encodings = self._tokenizer.encode_batch(
            [text for text, _ in spelled], add_special_tokens=False
        )
        return [
            Spelt(self._ids[encoding.ids], _mask(encoding, places))
            for encoding, (_, places) in zip(encodings, spelled, strict=True)
        ]


def _mask(encoding: Encoding, places: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Which tokens have a character between each two places."""

    def end(token: int) -> int:
        # A token of no characters, such as a space that was put in, goes with what follows it.
        first, after = encoding.token_to_chars(token) or (0, 0)
        return int(max(after, first + 1))

    def begin(token: int) -> int:
        return int((encoding.token_to_chars(token) or (0, 0))[0])

    tokens = range(len(encoding))
    mask = np.zeros(len(tokens), dtype=np.bool_)
    for first, after in zip(places[::2], places[1::2], strict=True):
        if first < after:
            low = bisect_left(tokens, first + 1, key=end)
            mask[low : bisect_left(tokens, after, lo=low, key=begin)] = True
    return mask


def _added(flags: Mapping[str, Any], name: str) -> AddedToken:
    return AddedToken(
        name,
        lstrip=bool(flags.get("lstrip")),
        rstrip=bool(flags.get("rstrip")),
        normalized=bool(flags.get("normalized")) and name == flags.get("content"),
    )


def _renamed(model: Mapping[str, Any], aliases: Mapping[str, str]) -> dict[str, Any]:
    """The model with control tokens under other names, so that no text is ever one of them."""
    changes: dict[str, Any] = {}
    match model.get("vocab"):
        case dict() as vocabulary:
            changes["vocab"] = {aliases.get(text, text): id_ for text, id_ in vocabulary.items()}
        case list() as pieces:
            changes["vocab"] = [[aliases.get(text, text), score] for text, score in pieces]
    if model.get("unk_token") in aliases:
        changes["unk_token"] = aliases[model["unk_token"]]
    if "merges" in model:
        pairs = (pair if isinstance(pair, list) else pair.split(" ") for pair in model["merges"])
        changes["merges"] = [
            pair for pair in pairs if aliases.keys().isdisjoint((*pair, "".join(pair)))
        ]
    return {**model, **changes}


class Documents:
    """How the tokenizer encodes a plain text: what it puts before and after it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        encoding = tokenizer.encode("x", add_special_tokens=True)
        around = np.array(encoding.special_tokens_mask, dtype=np.bool_)
        ids = np.array(encoding.ids, dtype=np.int32)
        inside = np.flatnonzero(~around)
        first, last = (inside[0], inside[-1]) if inside.size else (len(ids), len(ids) - 1)
        self._before, self._after = ids[:first], ids[last + 1 :]

    def completed(self, content: Spelt) -> Spelt:
        """A text as the tokenizer would give it, learnt whole but for what comes before it."""
        return Spelt(
            np.concatenate((self._before, content.ids, self._after)).astype(np.int32),
            np.concatenate(
                (
                    np.zeros(len(self._before), dtype=np.bool_),
                    np.ones(len(content.ids) + len(self._after), dtype=np.bool_),
                )
            ),
        )
