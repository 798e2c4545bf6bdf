"""Documents: mixes and policies as parsed data, and what is wrong with one told in plain words.

A refusal names the field, what was given and what is allowed.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, TypeAlias, TypeVar, get_args

from pydantic import BaseModel, Field, ValidationError

from .errors import Reason, RecollectError

Model = TypeVar("Model", bound=BaseModel)
Details: TypeAlias = Mapping[str, Any]

LONGEST_QUOTE = 40
"""Characters of a wrong value that a refusal repeats."""
MOST_OTHERS = 5
"""Other wrong fields that a refusal names."""
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._/-]*$"

Name: TypeAlias = Annotated[str, Field(max_length=128, pattern=NAME_PATTERN)]

_PATTERNS = {
    NAME_PATTERN: "it must begin with a letter or digit and go on with those and . _ / - only"
}


def canonical_json(value: object) -> str:
    """The one JSON text of a value: keys sorted, no spaces."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def read_model(model: type[Model], data: object, *, noun: str, reason: Reason) -> Model:
    """The model that parsed data describes.

    Raises:
        RecollectError: `reason`, with the path of the first field that is wrong.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise _refusal(error, model, noun=noun, reason=reason) from None


def quote(value: object) -> str:
    """A value for a message: what it is, cut short, without control characters."""
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return f"a mapping of {len(value)} fields"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return "a very long number"
    return text if len(text) <= LONGEST_QUOTE else f"{text[: LONGEST_QUOTE - 1]}…"


def _refusal(
    error: ValidationError, model: type[BaseModel], *, noun: str, reason: Reason
) -> RecollectError:
    """The first thing that pydantic found, and which other fields are wrong."""
    found = error.errors(include_url=False)
    first, *others = (item for item in found if not _is_echo(item, found))
    kind, location = first["type"], first["loc"]
    message = first["msg"].removeprefix("Value error, ")
    if kind in _WORDS:
        message = _WORDS[kind](first.get("ctx", {}))
    if kind == "extra_forbidden":
        message = _unknown_field(model, location)
    elif kind != "missing":
        message = f"{message}; {quote(first['input'])} was given"
    where = _path(location) or noun
    paths = dict.fromkeys(_path(item["loc"]) or noun for item in others)
    paths.pop(where, None)
    return RecollectError(reason, message + _also_wrong(list(paths)), where=where)


def _also_wrong(paths: list[str]) -> str:
    """The other fields that are wrong, to be corrected in the same go."""
    if not paths:
        return ""
    left_out = len(paths) - MOST_OTHERS
    more = f" and {left_out} more" if left_out > 0 else ""
    return f" (also wrong: {', '.join(paths[:MOST_OTHERS])}{more})"


def _is_echo(item: Any, found: Iterable[Any]) -> bool:
    """Whether pydantic only says that a list is too short because an entry of it is wrong."""
    place = item["loc"]
    return item["type"] == "too_short" and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in found
    )


def _unknown_field(model: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """What may stand where an unknown field does, the likeliest alone if there is one."""
    known = _fields_at(model, location[:-1])
    close = difflib.get_close_matches(str(location[-1])[:LONGEST_QUOTE], known, n=1)
    if close:
        return f"there is no such field; did you mean {close[0]}?"
    return f"there is no such field; there are {', '.join(known)}"


def _fields_at(model: type[BaseModel], location: Iterable[int | str]) -> list[str]:
    """Names of the fields of the model at a path."""
    for part in location:
        if isinstance(part, str) and part in model.model_fields:
            model = next(models_in(model.model_fields[part].annotation), model)
    return list(model.model_fields)


def models_in(annotation: Any) -> Iterator[Any]:
    """The models that a type such as tuple[Model, ...] is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)


def _path(location: tuple[int | str, ...]) -> str:
    """A field path such as `sources[2].share`."""
    path = ""
    for part in location:
        if part == "[key]":  # pydantic's mark for a mapping's key; the key itself comes before it
            continue
        path += f"[{part}]" if isinstance(part, int) else f".{quote(part).strip(chr(39))}"
    return path.removeprefix(".")


def _words(text: str) -> Callable[[Details], str]:
    return lambda details: text.format_map(details)


def _choices(details: Details) -> str:
    choices = str(details["expected"]).replace("'", "")
    return f"it must be {choices}" if " or " not in choices else f"it must be one of {choices}"


def _characters(details: Details) -> str:
    return _PATTERNS.get(str(details["pattern"]), f"it must match {details['pattern']}")


_NUMBER = _words("it must be a whole number")
_TEXT = _words("it must be text")
_LIST = _words("it must be a list")
_MAPPING = _words("it must be a mapping of fields")
_WORDS: Mapping[str, Callable[[Details], str]] = {
    "missing": _words("this field is missing"),
    "literal_error": _choices,
    "enum": _choices,
    "int_type": _NUMBER,
    "int_parsing": _NUMBER,
    "int_from_float": _NUMBER,
    "int_parsing_size": _words("it is too large a number"),
    "bool_type": _words("it must be true or false"),
    "bool_parsing": _words("it must be true or false"),
    "string_type": _TEXT,
    "string_unicode": _words("it holds a character that Unicode does not have"),
    "string_pattern_mismatch": _characters,
    "string_too_short": _words("it must have at least {min_length} characters"),
    "string_too_long": _words("it may have at most {max_length} characters"),
    "greater_than": _words("it must be above {gt}"),
    "greater_than_equal": _words("it must be at least {ge}"),
    "less_than": _words("it must be below {lt}"),
    "less_than_equal": _words("it must be at most {le}"),
    "too_short": _words("it must have at least {min_length} entries"),
    "too_long": _words("it may have at most {max_length} entries"),
    "list_type": _LIST,
    "tuple_type": _LIST,
    "dict_type": _MAPPING,
    "model_type": _MAPPING,
    "model_attributes_type": _MAPPING,
    "union_tag_invalid": _words("it must be one of {expected_tags}"),
    "union_tag_not_found": _words("the field that says which kind it is is missing"),
}
