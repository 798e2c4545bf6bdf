"""Bodies: by the word that a name ends or begins in, by short names, by numbers.

"Regional Court", "the NAPR", "Police Station no. 5"; and in files of courts, by a capital alone.
"""

from __future__ import annotations

from collections.abc import Iterator

import regex
from spacy.lang.en.stop_words import STOP_WORDS

from . import vocabulary
from .quasi_amounts import CURRENCY_CODE
from .quasi_rule import WORD, Rule

_CAPITALISED = r"\p{Lu}[\p{L}\p{M}'’.-]{0,40}+"
_HEAD = (
    r"(?:Courts?|Attorney|Tribunal|Council|Ministry|Prison|Hospital|Clinic|University|College|"
    r"School|Institute|Police|Directorate|Committee|Commission|Board|Fleet|Office|Agency|"
    r"Authority|Bank|Church|Mosque|Party|Union|Association|Federation|Foundation|Society|"
    r"Club|Company|Corporation|Service|Department|Division|Inspectorate|Registry|Bureau|"
    r"Embassy|Consulate|Parliament|Assembly|Chamber of Commerce|Army|Brigade|Regiment|"
    r"Academy|Museum|Theatre|Newspaper|Centre|Center|Surgery|Inc|Ltd|LLC|GmbH|plc|S\.A|AG|ApS|"
    r"A/S|I/S|AB|Oy|AS|S\.p\.A|S\.r\.l|SpA|Srl|NV|BV|KG|OHG|d\.o\.o|Kft|Zrt|"
    r"EOOD|OOD|OAO|ZAO|OOO|Holding|Drapery|Palace|Depot|Barracks|"
    r"Fund|Trust|Gendarmerie|Command|Constabulary|Constable|Commissariat|Headquarters|Station|"
    r"Colony|"
    r"Observatory|League|Legion|Order|Alliance|Movement|Network|Ombudsman|Secretariat|Secretary|"
    r"Minister|Governor|Prefecture|Prefect|Municipality|Diocese|Parish|Monastery|Abbey|Cathedral|"
    r"Gazette|Times|Herald|Tribune|Journal|Radio|Television|Airport|Airlines|Railways?|Hotel|"
    r"Factory|Plant|Works|Cooperative|Chambers|Judge|Treasury|Senate|House of (?:Commons|Lords)|"
    r"Regiment|Battalion|Squadron|Wing|Ward|Home|Hostel|Shelter|Camp)"
)
_LINK = r"(?:of(?: the)?|and|for(?: the)?|de|in|&)"
BODY = regex.compile(
    rf"\b(?:{_CAPITALISED} (?:(?:{_LINK}) (?={_CAPITALISED}))?){{1,6}}{_HEAD}\b\.?"
    rf"(?: of(?: the)? {_CAPITALISED}(?: (?:{_LINK} )?{_CAPITALISED}){{0,3}})?"
    rf"|\b{_HEAD} (?:of|for)(?: the)? {_CAPITALISED}(?: (?:{_LINK} )?{_CAPITALISED}){{0,4}}"
)
# Bodies that every judgment names, and that say nothing of whom it is about.
_NOBODYS_BODIES = regex.compile(
    r"(?:The |An? |In |This |On )*(?:European )?"
    r"(?:Court|Commission|Council|Chamber|Committee|Board|Office|Union)"
    r"(?: of (?:Human Rights|Europe|the Court|Appeals?))?$"
    r"|.*\b(?:Rules?|Code|Act|Article|Section|Protocol) of\b.*"
)
_NUMBERED_BODIES = vocabulary.words("""
Prison, Colony, Station, School, Hospital, Clinic, Kindergarten, Battalion, Brigade, Regiment, Unit,
Section, Division, Lyceum, Gymnasium, Polyclinic, Department, SIZO, Institution
""")
_NUMBERED_PLACES = vocabulary.words("""
apartment, flat, cell, wing, ward, unit, room, block, building, plot, tent, sector, dormitory,
barrack, barracks, pavilion, entrance, staircase, house, office, desk, gate, platform, berth, cabin,
lot
""")
_LETTERED_PLACES = vocabulary.words("Wing, Block, Ward, Unit, Hall, Cell, Tent")
SHORT_NAMES: tuple[Rule, ...] = (
    # ("the NAPR"), (hereinafter "VSAT").
    Rule(
        kind="ORGANIZATION",
        pattern=r"\((?:[^()\n]{0,60}[–-] |(?:hereinafter|hereafter|henceforth|abbreviated),? )?"
        rf"(?:the )?[\"“‘«']?(?:the )?\K(?!{CURRENCY_CODE}\b)\p{{Lu}}{{2,8}}(?:-\p{{Lu}}+)?"
        r"(?=[\"”’»']?\))",
    ),
    Rule(
        kind="ORGANIZATION",
        pattern=rf"\bMessrs\.? \K{_CAPITALISED}(?:,? (?:(?:and|&) )?{_CAPITALISED}){{0,5}}",
        words=frozenset({"messrs"}),
    ),
    # "Prison no. 13", "Police Station no. 5".
    Rule(
        kind="ORGANIZATION",
        pattern=rf"\b(?:{_CAPITALISED} ){{0,3}}(?:{'|'.join(_NUMBERED_BODIES)})"
        r" (?:[Nn]o\.?|[Nn]umber|№) ?[\w/-]{1,12}\b",
        words=frozenset(word.lower() for word in _NUMBERED_BODIES),
    ),
    Rule(
        kind="ORGANIZATION",
        pattern=rf"\b(?i:{'|'.join(_NUMBERED_BODIES)}) (?i:no\.|number|№) ?\d{{1,5}}\b",
        words=frozenset(word.lower() for word in _NUMBERED_BODIES),
        reads_capitals=False,
    ),
    Rule(
        kind="LOCATION",
        pattern=rf"\b(?i:{'|'.join(_NUMBERED_PLACES)}),? (?:(?i:no\.?|number|№) ?"
        r"[A-Z]{0,2}-?\d{1,5}[A-Za-z]?(?:/\d{1,4})?|[A-Z]{1,2}-?\d{1,4})(?!\w)",
        words=frozenset(_NUMBERED_PLACES),
        reads_capitals=False,
    ),
    Rule(
        kind="LOCATION",
        pattern=r"[\"“‘']?(?<!\w)[A-Z][\"”’']? (?:Wing|Block|Ward|Unit|Hall)\b"
        r"|\b(?:Wing|Block|Ward|Hall|Cell|Tent) [\"“‘']?[A-Z](?:-?\d+)?(?!\w)[\"”’']?",
        words=frozenset(word.lower() for word in _LETTERED_PLACES),
    ),
)


def is_nobodys(body: str) -> bool:
    """Whether every judgment names it."""
    return _NOBODYS_BODIES.match(body) is not None


_LEGAL_TEXT = """
applicant applicants court judgment proceedings appeal appealed defendant plaintiff prosecutor
convicted detention complaint hearing respondent petitioner tribunal claimant sentenced lawyer
admissible inadmissible convention prosecution
"""
_LEGAL_WORDS = frozenset(_LEGAL_TEXT.split())
_ENOUGH_LEGAL = 3
"""Words of courts that make a text one of their files."""
_OFFICIAL_WORDS = """
court courts convention article articles section sections protocol rule rules government commission
chamber grand president registrar registry vice deputy contracting party parties state states member
high constitution constitutional code codes criminal civil procedure penal act acts law laws decree
regulation regulations ordinance directive chapter part annex appendix paragraph agent agents mr mrs
ms miss messrs dr prof sir lord lady god internet human rights fundamental freedoms european union
europe council ministers committee supreme parliament minister prime republic kingdom federal
federation national public prosecutor general attorney police bar facts case merits judges judge
secretary bench rapporteur division owned honour majesty s no protection delegates
january february march april june july august september october november december monday
tuesday wednesday thursday friday saturday sunday
"""
_OFFICIAL = frozenset(_OFFICIAL_WORDS.split()) | STOP_WORDS
# A word with a capital behind another word of the same sentence.
_WITHIN_SENTENCE = regex.compile(
    rf"(?<=[\p{{Ll}}\d,;][\"”’)]? [\"“‘(]?)(?:{_CAPITALISED})(?:[ -]{_CAPITALISED}|"
    rf"[ -]\d{{1,4}}(?!\w)){{0,4}}"
)
_BEFORE = 12
_IN_PLACE = regex.compile(r"\b(?:in|at|near|from|to|of|towards|outside) $")


def is_court_file(words: frozenset[str]) -> bool:
    """Whether a text of these words, in small letters, is of a court.

    Such a text is written with care, each name with a capital.
    """
    return len(_LEGAL_WORDS & words) >= _ENOUGH_LEGAL


def unknown_names(text: str, timeout: float) -> Iterator[tuple[str, int, int]]:
    """Kind, start and end of words with a capital within sentences that are no courts' own."""
    for match in _WITHIN_SENTENCE.finditer(text, timeout=timeout):
        value, before = match.group(), text[max(match.start() - _BEFORE, 0) : match.start()]
        # In a line of capitals they tell nothing.
        telling = not value.isupper() or any(map(str.islower, before))
        if telling and not _OFFICIAL.issuperset(WORD.findall(value.lower())):
            yield "LOCATION" if _IN_PLACE.search(before) else "ORGANIZATION", *match.span()
