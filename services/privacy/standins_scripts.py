"""Scripts: an invented name in the letters of the name that it stands for.

Names are invented in Latin letters and spelled in the other script letter by letter, after common
romanisations read backwards (ISO 9, ISO 843, ISO 233, ISO 259 and ISO 15919, much simplified): what
comes out can be read aloud. Chinese, Japanese and Korean names are made of characters that names
have. Other scripts keep the Latin name.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from zlib import crc32

_LETTERS = {
    "CYRILLIC": "a а b б c к d д e е f ф g г h х i и j й k к l л m м n н o о p п r р s с t т u у "
    "v в w в y ы z з th т ch ч sh ш ia ия",
    "GREEK": "a α b β c κ d δ e ε f φ g γ h χ i ι j ι k κ l λ m μ n ν o ο p π r ρ s σ t τ u ου v β "
    "w ου y υ z ζ th θ ch χ",
    "HEBREW": "a א b ב c ק d ד e א f פ g ג h ה i י j י k ק l ל m מ n נ o ו p פ r ר s ס t ט u ו v ו "
    "w ו y י z ז th ת sh ש",
    "ARABIC": "a ا b ب c ك d د e ي f ف g غ h ه i ي j ج k ك l ل m م n ن o و p ب r ر s س t ت u و v ف "
    "w و y ي z ز th ث sh ش",
    "ARMENIAN": "a ա b բ c կ d դ e ե f ֆ g գ h հ i ի j յ k կ l լ m մ n ն o ո p պ r ր s ս t տ u ու "
    "v վ w վ y ի z զ th թ sh շ",
    "GEORGIAN": "a ა b ბ c კ d დ e ე f ფ g გ h ჰ i ი j ჯ k კ l ლ m მ n ნ o ო p პ r რ s ს t ტ u უ "
    "v ვ w ვ y ი z ზ th თ sh შ",
    "DEVANAGARI": "b ब c क d द f फ g ग h ह j ज k क l ल m म n न p प r र s स t त v व w व y य z ज़ "
    "th थ sh श",
}
_MAPS = {
    script: dict(zip(pairs.split()[::2], pairs.split()[1::2], strict=True))
    for script, pairs in _LETTERS.items()
}
_VOWELS = {"a": ("अ", ""), "e": ("ए", "े"), "i": ("इ", "ि"), "o": ("ओ", "ो"), "u": ("उ", "ु")}
_VIRAMA = "्"
# The characters of names, and the families' among them.
_CHARACTERS = {
    "CJK": "文明华丽军强伟芳娜敏静杰涛磊洋勇艳娟霞平刚桂英玉兰建国海燕宇晨欣怡佳琪",
    "HANGUL": "민서준현지우수영진호은경미정성재하윤채원연도",
    "HIRAGANA": "あいうえかきくけこさしすたちとなにのはひふまみむめもやゆよらりるれろ",
    "KATAKANA": "アイウエカキクケコサシスタチトナニノハヒフマミムメモヤユヨラリルレロ",
    "THAI": "กขคงจชญดตทนบปพมยรลวสหอ",
}


def in_script_of(word: str, new: str) -> str:
    """The new name, of Latin letters, in the script of the word; as it is where there is no way."""
    script = _script_of(word)
    if script in _CHARACTERS:
        return _of_characters(word, new, _CHARACTERS[script])
    letters = _MAPS.get(script)
    if letters is None:
        return new
    if script == "DEVANAGARI":
        return _devanagari(new.lower(), letters)
    spelled = _spelled(new.lower(), letters)
    if script == "GREEK" and spelled.endswith("σ"):
        spelled = spelled[:-1] + "ς"
    if word.isupper() and len(word) > 1:
        return spelled.upper()
    # Georgian has capitals that nobody begins a name with.
    return spelled.capitalize() if word[:1].isupper() else spelled


@lru_cache(maxsize=4096)
def _script_of(word: str) -> str:
    for character in word:
        if character.isalpha() and not character.isascii():
            # The first word of a character's name is its script's: "CYRILLIC SMALL LETTER A".
            return unicodedata.name(character, "").partition(" ")[0].partition("-")[0]
    return "LATIN"


def _spelled(new: str, letters: dict[str, str]) -> str:
    spelled, place = "", 0
    while place < len(new):
        size = 2 if new[place : place + 2] in letters else 1
        spelled += letters.get(new[place : place + size], "")
        place += size
    return spelled


def _devanagari(new: str, letters: dict[str, str]) -> str:
    """Consonants carry their vowel; two in a row are joined by a virama."""
    spelled, place, bare = "", 0, False
    while place < len(new):
        size = 2 if new[place : place + 2] in letters else 1
        part = new[place : place + size]
        place += size
        if part in _VOWELS:
            alone, sign = _VOWELS[part]
            spelled += sign if bare else alone
            bare = False
        elif part in letters:
            spelled += (_VIRAMA if bare else "") + letters[part]
            bare = True
    return spelled


def _of_characters(word: str, new: str, characters: str) -> str:
    """As many characters as the word has, chosen by the new name."""
    return "".join(
        characters[crc32(f"{new.lower()}{place}".encode()) % len(characters)]
        for place in range(max(len(word), 1))
    )
