"""PERSON: names by gazetteer and by the words around them. Rules, not a model: weak by design.

What counts as evidence: an honorific, an introduction ("my name is"), a greeting or sign-off, a
listed first name, an unknown word before a listed surname. Names that are words too (Will, May)
need an introduction, a greeting or a listed surname behind them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import regex
from presidio_analyzer import LocalRecognizer, RecognizerResult
from spacy.lang.en.stop_words import STOP_WORDS

from .anchors import anchor_of
from .deadline import time_left
from .gazetteer import gazetteer
from .text_index import Cues, matches_at

_TITLE = (
    r"\p{Lu}(?:\p{Ll}+(?:['’](?!s\b)\p{L}+)?|['’]\p{Lu}\p{Ll}+|\p{Lu}+)"
    r"(?:\p{Lu}\p{Ll}+)*(?:-\p{L}+)*"
)
_PARTICLE = r"(?:(?:de|da|del|der|den|dos|van|von|bin|al|la|le|di) ){1,2}"
_RUN = regex.compile(rf"(?<![\w@])(?:{_TITLE})(?: (?:{_PARTICLE})?(?:{_TITLE}|\p{{Lu}}\.?(?!\w)))*")
_WORD = regex.compile(r"[^\W\d_]+(?:['’-][^\W\d_]{2,})*")
_ANY = r"[^\W\d_]+(?:['’](?!s\b)[^\W\d_]+)?(?:-[^\W\d_]+)*"
_NAME = rf"(?P<name>{_ANY}(?: (?:{_PARTICLE})?(?:{_ANY}|\p{{Lu}}\.)){{0,3}})"

_HONORIFIC = regex.compile(
    rf"(?<!\w)(?:(?i:mrs?|mx|dr|prof|professor|shri|smt)\.?|M(?:ISS|iss|S|s)\.?|ms\.) {_NAME}"
)
_INTRODUCTION = regex.compile(
    rf"(?<!\w)(?i:my (?:full |first |last |real |good )?name(?:['’]?s| is|:)|(?:registered|full|"
    rf"customer|recipient|account holder|contact|first|last|beneficiary|passenger|patient)[ '’]?s? "
    rf"name(?:['’]s| is|:)|name:|in the name of|under the name(?: of)?|name on the account is|"
    rf"call me|goes by|on my name,?|under my name!?,?)\s{{1,2}}{_NAME}"
)
_RELATION = regex.compile(
    rf"(?<!\w)(?:(?:[Mm]other|[Mm]um|[Mm]om|[Ff]ather|[Dd]ad|[Gg]rand\w+|[Hh]usband|[Ww]ife|[Ss]ister|"
    rf"[Bb]rother|[Ss]on|[Dd]aughter|[Ff]riend|[Nn]eighbou?r|[Aa]unt(?:ie)?|[Uu]ncle|[Cc]ousin|"
    rf"[Pp]artner|[Pp]atient|[Tt]enant|[Ii]nsured|[Hh]older|[Aa]ccountant|[Ll]andlord|[Tt]axpayer|"
    rf"[Cc]olleague|[Mm]anager|[Ss]urname(?: is)?|[Nn]ame as|[Cc]ontact:|From:|To:|Attn\.?:?|"
    rf"[Ss]poke (?:with|to)|[Aa]sk for|[Ss]hip to|[Bb]ehalf of|[Hh]ire)[:,]?\s{{1,2}}"
    rf"(?:that['’]s )?)(?P<name>{_TITLE}(?: {_TITLE}){{1,2}})"
)
_LETTERS = re.compile(r"[^\W\d_]+")
_INTRODUCING = frozenset({"name", "names", "call", "goes"})
_RELATING_WORDS = """
mother mum mom father dad husband wife sister brother son daughter friend neighbor neighbour aunt
auntie uncle cousin partner patient tenant insured holder accountant landlord taxpayer colleague
manager surname name contact attn spoke ask ship behalf hire
"""
_RELATION_GATE = regex.compile(r"From:|To:|[Gg]rand")
_RELATING = frozenset(_RELATING_WORDS.split())
_SELF = regex.compile(rf"(?<!\w)(?i:i am|i['’]?m|this is|it['’]?s|speaking is) {_NAME}")
_GREETING = regex.compile(
    rf"(?<!\w)(?:[Hh](?:i|ello|ey)|HI|HELLO|[Dd]ear|[Tt]hank(?:s|\s[Yy]ou)|[Cc]heers|[Rr]egards|"
    rf"[Ss]incerely|[Tt]ruly|Yours|Best|[Mm]orning|[Aa]fternoon|[Ee]vening|[Nn]amaste)"
    rf"[,!]?\s{{1,2}}{_NAME}"
)

# Where any of them can match.
_CUES = Cues(
    (cue.pattern, anchor_of(cue.pattern, cue.flags))
    for cue in (_HONORIFIC, _INTRODUCTION, _RELATION, _SELF, _GREETING)
)

_NOT_NAME_WORDS = """
account address afternoon agent all also always amazon angry anyone app approved are assistant
available avenue back bank because boss bro building business buyer calling can card care city
client clearly clear colony come company confused considering correct court covered customer
customers dear delivery department desk different disappointed done drive dude everybody everyone
evening executive expecting experiencing fault feeling fine folks for friend friends frustrated
furious getting glad god going good great guys happy hello help here home hoping how hurry id
important incorrect india invalid issue just kindly lane let looking loving ma'am maam madam mam
man management manager mentioned misspelled missing morning mr mrs ms name needed new night no
not nothing now number officer ok okay once one order our owner partner people person phone
please pls plz prime question really received registered regards regarding regular representative
ridiculous right road sad seller service shipping since sir so sorry speaking spelled square
still store street stuck super sure support supposed team thank thanks that the there this time
today tomorrow tried trying unacceptable under unhappy unable upset urgent user very waiting was
welcome what when where which with working worried wrong yes you your january february march
april june july august september october november december monday tuesday wednesday thursday
friday saturday sunday
"""
_PREFIX_WORDS = """
San Santa Los Las Saint St New Lake Mount Mt Fort Port El
"""
_PLACE_TEXT = """
street st road rd avenue ave lane ln drive dr nagar colony block sector cross phase layout
apartment apartments boulevard court place square terrace way close crescent circle marg vihar
enclave society residency tower towers garden gardens estate chowk bazaar park bridge river lake
mountain island university valley pier village college school hospital company inc ltd llc
corporation bank airport station city county state beach bay hall hotel restaurant store shop
"""

_NOT_NAMES = STOP_WORDS | frozenset(_NOT_NAME_WORDS.split())
_PLACE_PREFIXES = frozenset(_PREFIX_WORDS.split())
_PLACE_WORDS = frozenset(_PLACE_TEXT.split())


class PersonRecognizer(LocalRecognizer):
    """Finds names of people by rules and word lists."""

    def __init__(self, timeout: float) -> None:
        super().__init__(
            supported_entities=["PERSON"], supported_language="en", name="PersonRecognizer"
        )
        self._timeout = timeout
        self._names = gazetteer()

    def load(self) -> None:
        """Nothing to do: the lists were read on construction."""

    def analyze(
        self, text: str, entities: list[str], nlp_artifacts: Any = None
    ) -> list[RecognizerResult]:
        """Names of people in the text."""
        return [
            RecognizerResult("PERSON", start, end, score)
            for start, end, score in self._spans(text)
            if start < end
        ]

    def _spans(self, text: str) -> Iterator[tuple[int, int, float]]:
        places = _CUES.places(text)
        yield from self._after(_HONORIFIC, text, places, 0.85, lower=True, unknown=True)
        # A set of the text's words is cheaper than a cue's pattern; most texts hold no cue.
        words = frozenset(_LETTERS.findall(text.lower()))
        if not words.isdisjoint(_INTRODUCING):
            yield from self._after(_INTRODUCTION, text, places, 0.85, lower=True, unknown=True)
        if not words.isdisjoint(_RELATING) or _RELATION_GATE.search(text):
            yield from self._after(_RELATION, text, places, 0.5, lower=False, unknown=True)
        yield from self._after(_GREETING, text, places, 0.6, lower=False, unknown=False)
        yield from self._after(_SELF, text, places, 0.6, lower=False, unknown=False)
        for run in _RUN.finditer(text, timeout=self._time_left()):
            yield from self._in_run(run, text)
        if not words.isdisjoint(self._names.common_first_names):
            yield from self._in_lower_case(text)

    def _time_left(self) -> float:
        return time_left(self._timeout)

    def _after(
        self,
        cue: regex.Pattern[str],
        text: str,
        places: Mapping[str, Sequence[int]],
        score: float,
        *,
        lower: bool,
        unknown: bool,
    ) -> Iterator[tuple[int, int, float]]:
        """Names after a cue; `lower` and `unknown` say what the cue is strong enough for."""
        at = places.get(cue.pattern)
        if at is None:
            return
        for match in matches_at(cue, text, at, self._time_left()):
            words = list(_WORD.finditer(text, match.start("name"), match.end("name")))
            first = words[0].group()
            if not self._may_start(first, lower=lower, unknown=unknown):
                continue
            length = self._extent([word.group() for word in words])
            end = words[length - 1].end()
            if _next_word(text, end) not in _PLACE_WORDS:
                yield match.start("name"), end, score

    def _may_start(self, word: str, *, lower: bool, unknown: bool) -> bool:
        if len(word) < 2:
            return False
        if word.lower() in _NOT_NAMES:
            # "my name is will", but not "my name is an old one".
            return unknown and lower and len(word) > 2 and self._names.is_name(word)
        if word[0].islower():
            return self._names.is_first_name(word) or (
                lower and (unknown or self._names.is_name(word))
            )
        if word.isupper() and len(word) > 1:
            return self._names.is_first_name(word)
        return unknown or self._names.is_name(word)

    def _may_follow(self, first: str, word: str) -> bool:
        lowered = word.lower()
        if lowered in _NOT_NAMES or lowered in _PLACE_WORDS:
            return False
        if word[0].islower():
            return first[0].islower() and (
                self._names.is_surname(word) or self._names.is_first_name(word)
            )
        return not (word.isupper() and not first.isupper() and len(word) > 2)

    def _in_run(self, run: regex.Match[str], text: str) -> Iterator[tuple[int, int, float]]:
        """Names in a run of capitalised words."""
        value = run.group()
        if value.isalpha() and not self._names.is_first_name(value):
            # One word, as most runs are.
            return
        words = [
            word
            for word in _WORD.finditer(text, run.start(), run.end())
            if word.group()[0].isupper()
        ]
        position = 0
        while position < len(words):
            length = self._length_at([word.group() for word in words[position : position + 4]])
            if length:
                start, end = words[position].start(), words[position + length - 1].end()
                if _next_word(text, end) not in _PLACE_WORDS and not _in_place(text, start):
                    yield start, end, 0.8 if length > 1 else 0.5
            position += length or 1

    def _length_at(self, words: list[str]) -> int:
        """How many of the words, from the first on, are a name; 0 if they are none."""
        names = self._names
        shouted = words[0].isupper() and len(words[0]) > 1
        length = self._extent(words)
        if names.is_first_name(words[0]):
            if not shouted:
                return length
            return 2 if length > 1 and names.is_surname(words[1]) else 0
        if words[0].lower() in _NOT_NAMES or shouted or length < 2:
            return 0
        # A word that is a first name too, or an unknown word, before a listed surname.
        listed = names.is_surname(words[1]) and not names.is_first_name(words[1])
        return 2 if listed and not names.is_surname(words[0]) else 0

    def _extent(self, words: list[str]) -> int:
        """How many words belong to a name that starts with the first: a third needs a reason."""
        length = 1
        while length < len(words) and self._may_follow(words[0], words[length]):
            before = words[length - 1]
            if length > 1 and not (len(before) < 4 or self._names.is_name(words[length])):
                break
            length += 1
        return length

    def _in_lower_case(self, text: str) -> Iterator[tuple[int, int, float]]:
        """First names typed in lower case, with the surname behind them."""
        previous = None
        for word in _WORD.finditer(text):
            value = word.group()
            if previous is not None and self._names.is_surname(value):
                adjacent = text[previous.end() : word.start()] == " "
                if adjacent and value[0].islower():
                    yield previous.start(), word.end(), 0.6
            previous = None
            if value[0].islower() and len(value) > 3 and self._names.is_first_name(value):
                previous = word
                if len(value) > 4:
                    yield word.start(), word.end(), 0.4


def _in_place(text: str, start: int) -> bool:
    """Whether a word as in "San Diego" stands before."""
    before = text[max(start - 6, 0) : start].split(" ")
    return len(before) > 1 and before[-2].strip(".") in _PLACE_PREFIXES


def _next_word(text: str, end: int) -> str:
    match = _WORD.match(text, end + 1) if text[end : end + 1] == " " else None
    return match.group().lower() if match else ""
