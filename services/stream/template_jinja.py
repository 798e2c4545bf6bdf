"""The sandbox that runs the chat template of a model folder: equal messages, equal text.

It is what transformers runs templates in, less whatever would make a text depend on the day or on
chance: the clock (`strftime_now`, which templates ask for before they use it), `random`, `lipsum`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import meta, nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from ...v1.tokenizer import OwnTemplate
from .unusable import unusable

START, STOP = "\ufdd1", "\ufdd2"
"""Stand around what is learnt. Like all noncharacters they are for use inside of a program: no text
that is passed on has them."""

FAILURES = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What running a template raises that does not fit the messages."""


class ChatScript:
    """A chat template, compiled."""

    def __init__(self, own: OwnTemplate) -> None:
        """Compiles it.

        Raises:
            RecollectError: MODEL_UNUSABLE, if it is no template or uses what is not there.
        """
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
        )
        environment.filters["tojson"] = _to_json
        for name in ("random", "lipsum"):
            environment.filters.pop(name, None)
            environment.globals.pop(name, None)
        environment.globals |= {
            "raise_exception": _raise,
            "dict": _Dictionary(),
            "namespace": _Namespace,
        }
        try:
            self._template = environment.from_string(own.text)
            tree = environment.parse(own.text)
        except FAILURES as error:
            line = getattr(error, "lineno", None)
            raise unusable(
                f"The chat template cannot be compiled: {error}.",
                where="chat_template" if line is None else f"chat_template, line {line}",
                fix="Correct it: it is rendered as transformers does, without clock and chance.",
            ) from error
        self._special_tokens = dict(own.special_tokens)
        self.has_generation = any(
            isinstance(block.call.node, nodes.ExtensionAttribute)
            and block.call.node.identifier == _Generation.identifier
            for block in tree.find_all(nodes.CallBlock)
        )
        """Whether the template says itself what is learnt, with `{% generation %}`."""
        self.asks_for_date = "strftime_now" in meta.find_undeclared_variables(tree)
        """Whether it asks for the clock, which there is none of."""
        constants = [str(node.value) for node in tree.find_all(nodes.Const)]
        self.words = [node.data for node in tree.find_all(nodes.TemplateData)] + constants
        """Every text that the template may write by itself."""

    def write(
        self, turns: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = False
    ) -> str:
        """The text of a conversation, with START and STOP around what its blocks say is learnt.

        Raises:
            *FAILURES: the template refuses it. The words may be those of the conversation.
        """
        return self._template.render(
            messages=[dict(turn) for turn in turns],
            tools=None,
            documents=None,
            add_generation_prompt=add_generation_prompt,
            **self._special_tokens,
        )

    def tried(self) -> str:
        """What it writes around the words of a user; nothing if it cannot."""
        try:
            return self.write([{"role": "user", "content": ""}])
        except FAILURES:
            return ""


class _Generation(Extension):
    """`{% generation %}` … `{% endgeneration %}`: what the assistant says."""

    tags = {"generation"}  # noqa: RUF012 - declared so by the class that it extends

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("marked"), [], [], body).set_lineno(line)

    def marked(self, caller: Macro) -> str:
        """The text of the block between its marks."""
        return f"{START}{caller()}{STOP}"


class _Dictionary:
    """`dict` without what a template could reach from the class."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[Any, Any]:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        """A dictionary of such keys."""
        return dict.fromkeys(*args)


class _Namespace(Namespace):
    """`namespace` that takes no name by which Python's insides could be reached."""

    def __init__(*args: Any, **kwargs: Any) -> None:
        self, given = args[0], dict(*args[1:], **kwargs)
        for name in given:
            _Namespace._require_plain(name)
        Namespace.__init__(self, given)

    def __setitem__(self, name: str, value: Any) -> None:
        _Namespace._require_plain(name)
        super().__setitem__(name, value)

    @staticmethod
    def _require_plain(name: object) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise SecurityError("a namespace takes no name that begins with an underscore")


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as it is: the filter of Jinja escapes what HTML would misread."""
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise(message: str) -> str:
    raise TemplateError(message)
