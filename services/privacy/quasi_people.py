"""What people are, in the words of courts and clerks: nationality, trade, rank, illness, standing.

Words of a vocabulary count where they stand; others by the word that such descriptions end in
("prison governor", "Duchenne muscular dystrophy") or by what stands beside them ("Captain Tuncer",
"of Yazidi origin").
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import Any

from . import vocabulary
from .quasi_rule import Rule, alternatives

_NAME = r"\p{Lu}[\p{L}'’-]+"
_RANKS = vocabulary.words("""
captain, colonel, lieutenant, sergeant, corporal, private, major, general, admiral, commander,
commandant, inspector, superintendent, constable, officer, detective, governor, warden, notary,
bailiff, midwife, nurse, surgeon, paramedic, bishop, archbishop, imam, rabbi, mayor, minister,
prosecutor, judge, consul, ambassador, professor, headmaster, headmistress, doctor
""")
_KINDS_OF_RANK = vocabulary.words("""
lieutenant, major, brigadier, staff, warrant, deputy, chief, vice, senior, junior, prison, police,
patrol, detective, customs
""")
_TITLES = vocabulary.words("""
canon, father, sister, brother, pastor, Rev, Reverend, Fr, Sir, Lord, Lady, Dame, Justice, senator,
solicitor, advocate, uncle, aunt, Sheikh, Mullah, Hodja, Maître, Herr, Frau, Señor, Señora, Dona,
Signor, Signora, Monsieur, Madame, Mme, Abbé
""")
_RANK = rf"(?:{alternatives(_KINDS_OF_RANK)}[- ])?{alternatives(_RANKS)}"
_TRADES = vocabulary.words("""
officer, director, owner, president, worker, governor, inspector, chairman, chairwoman, manager,
chairperson, surgeon, doctor, physician, teacher, schoolmaster, lecturer, engineer, technician,
operator, driver, dealer, trader, merchant, seller, farmer, labourer, employee, clerk, secretary,
assistant, adviser, advisor, consultant, analyst, specialist, therapist, hygienist, scientist,
psychiatrist, journalist, reporter, editor, publisher, writer, author, activist, campaigner,
politician, councillor, mayor, leader, commander, soldier, guard, warden, priest, pastor, vicar,
imam, monk, nun, student, pupil, apprentice, trainee, pensioner, refugee, addict, offender, player,
coach, trainer, athlete, musician, singer, artist, painter, photographer, cameraman, accountant,
auditor, banker, broker, agent, shareholder, entrepreneur, businessman, businesswoman, electrician,
mechanic, carpenter, builder, plumber, miner, fisherman, sailor, pilot, nurse, midwife, paramedic,
firefighter, cleaner, cook, chef, waiter, waitress, hairdresser, tailor, librarian, translator,
interpreter, policeman, policewoman, serviceman, veteran, widow, widower, orphan, diver, innkeeper,
head, lawyer
""")
_MORE_TRADES = vocabulary.words("""
actuary, acrobat, air traffic controller, ambulance driver, anaesthetist, animator, arborist,
archaeologist, archivist, army officer, art dealer, artisan, au pair, babysitter, backing singer,
ballerina, barista, beautician, beekeeper, blacksmith, boatbuilder, bookbinder, bookkeeper,
bookseller, botanist, bouncer, brewer, bus conductor, cabin crew, cabinetmaker, call centre agent,
caregiver, carer, cartographer, caterer, cellist, chaplain, chauffeur, childcare worker,
chiropractor, choreographer, cobbler, cleaner, confectioner, copywriter, coroner, costume designer,
crane operator, croupier, curator, dairy farmer, deckhand, delivery driver, dental hygienist, dental
nurse, dentist, dermatologist, diplomat, distiller, dressmaker, drummer, electrician, embroiderer,
estate agent, event planner, ferryman, financial analyst, fishmonger, fitter, florist, forester,
fruit picker, funeral director, gamekeeper, geneticist, glassblower, goldsmith, greengrocer,
groundskeeper, guitarist, gunsmith, gynaecologist, gymnast, handyman, harbour master, harpist,
health visitor, herbalist, herder, hotelier, housewife, hunter, illustrator, innkeeper, ironmonger,
janitor, jeweller, joiner, judge's clerk, lab technician, labourer, landlord, landscaper, laundress,
librarian, lifeguard, lighthouse keeper, lineman, linguist, locksmith, longshoreman, lumberjack,
machinist, magician, maid, make-up artist, masseur, masseuse, medical student, metalworker,
meteorologist, midwife, milkman, miller, milliner, missionary, monk, mortician, music teacher, nail
technician, neurosurgeon, nurse practitioner, nutritionist, obstetrician, occupational therapist,
oceanographer, oncologist, ophthalmologist, optometrist, orthodontist, paediatrician, park ranger,
parking attendant, pastry chef, pathologist, percussionist, pharmacist, piano teacher, pianist,
plasterer, podiatrist, porter, postmaster, potter, PhD student, probation officer, prosthetist,
puppeteer, quantity surveyor, rancher, ranger, restaurateur, road worker, roofer, saddler, sales
assistant, salt trader, scaffolder, school cook, seaman, able seaman, seamstress, senior lecturer,
sheep farmer, shepherd, ship's cook, shoemaker, sign painter, silversmith, skipper, soldier,
sommelier, soprano, stablehand, stage manager, steelworker, stonemason, street vendor, stunt
performer, surveyor, taxidermist, teaching assistant, telemarketer, tiler, toolmaker, toxicologist,
tram driver, trapper, truck driver, trucker, typist, undertaker, undergraduate, upholsterer, urban
planner, urologist, vet, viticulturist, watchmaker, weaver, web designer, welder, wheelwright,
winemaker, woodcarver, yoga teacher, zookeeper, zoologist
""")
_MORE_FOLK = vocabulary.words("""
Cree, Navajo, Cherokee, Lakota, Mohawk, Inuit, Métis, Romani, Kurd, Basotho, Tswana, Ndebele, Shona,
Kikuyu, Luo, Maasai, Oromo, Amhara, Tigrayan, Fulani, Wolof, Akan, Ewe, Malay, Javanese, Sundanese,
Balinese, Cantonese, Hakka, Tibetan, Hokkien, Gujarati, Marathi, Telugu, Malayali, Sindhi, Balochi,
Kashmiri, Pathan, Turkmen, Chuvash, Bashkir, Ossetian, Abkhaz, Frisian, Sorbian, Breton, Galician,
Corsican, Samoan, Tongan, Fijian, agnostic, atheist, Zoroastrian, Druze, Coptic, Quaker, Adventist,
Evangelical, Calvinist, Maronite, Taoist, Bahá'í, Ismaili, Ahmadi, Amish, Mennonite, vegan
""")
_ILL_ENDINGS = (
    *("itis", "ectomy", "aemia", "opathy", "plegia", "sclerosis", "cirrhosis", "thrombosis"),
    *("psychosis", "neurosis", "arthrosis", "noma", "homa", "toma"),
)
_ILLNESSES = vocabulary.words("""
dystrophy, syndrome, disease, disorder, cancer, tumour, tumor, depression, dependence, addiction,
fever, infection, paralysis, stroke, concussion, injury, injuries, bruises, haematoma, haematomas,
ulcer, wound, wounds, miscarriage, haemorrhage, epilepsy
""")
_HURT = vocabulary.words("""
fractured, fracture, broken, amputated, dislocated, ruptured, sprained, perforated
""")
_FOLK = vocabulary.words("""
origin, descent, ethnicity, extraction, nationality, faith, religion, heritage, background
""")
_CITIZENS = vocabulary.words("national, nationals, citizen, citizens, subject, subjects")
_STANDINGS = vocabulary.words("""
married couple, HIV-positive, HIV positive, bisexual, homosexual, homosexuality, transsexual,
alcoholic, epileptic, diabetic, schizophrenic, autistic, stateless, Gypsy, Gypsies, Traveller,
Travellers, Christianity, Islam, Judaism, Hinduism, Buddhism, widow, widower, orphan, orphans, twin,
twins
""")
_FIRST_WORDS = frozenset(standing.split(" ")[0].split("-")[0].lower() for standing in _STANDINGS)


def _lower(words: Iterable[str]) -> frozenset[str]:
    return frozenset(word.lower() for word in words)


PEOPLE: tuple[Rule, ...] = (
    # "Dr Lehti, a child psychiatrist at", "worked as a claims adjuster for".
    Rule(
        kind="DEMOGRAPHIC",
        pattern=r"(?<=\p{Lu}[\p{L}'’-]+, )(?:who (?:is|was) )?(?:then )?an? "
        r"\K\p{Ll}[\p{L} -]{2,45}?"
        r"(?=,|\.| (?:at|in|of|who|from|with|for|and|by|practising|living|working)\b)",
        reads_capitals=False,
    ),
    Rule(
        kind="DEMOGRAPHIC",
        pattern=r"\b(?:work(?:ed|s|ing)|employed|serv(?:ed|es|ing)|practis(?:ed|es|ing)) as an? "
        r"\K\p{Ll}[\p{L} -]{2,45}?"
        r"(?=,|\.|;| (?:at|in|of|for|with|until|since|from|and|by|on)\b)",
        reads_capitals=False,
    ),
    Rule(
        kind="DEMOGRAPHIC",
        pattern=rf"\b{_RANK}(?= (?:{_NAME}|\p{{Lu}}\.))",
        words=_lower(_RANKS),
    ),
    Rule(
        kind="PERSON",
        pattern=rf"\b(?:{alternatives((*_RANKS, *_TITLES))}|(?:Rev|Fr)\.) "
        rf"\K{_NAME}(?:[ -]{_NAME}){{0,2}}",
        words=_lower((*_RANKS, *_TITLES)),
    ),
    Rule(
        kind="DEMOGRAPHIC",
        pattern=rf"(?<![\p{{L}}-])(?:\p{{L}}{{3,30}}(?:{'|'.join(_ILL_ENDINGS)})|"
        rf"{'|'.join(_ILLNESSES)})(?![\p{{L}}-])",
        words=_lower(_ILLNESSES),
        endings=_ILL_ENDINGS,
        takes_modifiers=True,
        reads_capitals=False,
    ),
    Rule(
        kind="DEMOGRAPHIC",
        pattern=rf"\b(?:{'|'.join(_HURT)}) [\p{{Ll}}-]+(?: (?:bone|leg|arm|wrist|joint))?"
        r"(?![\p{L}-])",
        words=_lower(_HURT),
        reads_capitals=False,
    ),
    Rule(
        kind="DEMOGRAPHIC",
        pattern=rf"\b{_NAME}(?:(?: |/){_NAME}){{0,2}} (?:national|citizen|subject)s?\b",
        words=_lower(_CITIZENS),
    ),
    Rule(
        kind="DEMOGRAPHIC",
        pattern=r"\b(?:national|citizen|subject)s? of (?:the )?"
        rf"{_NAME}(?:(?: and| of| of the)? {_NAME}){{0,3}}",
        words=_lower(_CITIZENS),
    ),
    Rule(
        kind="DEMOGRAPHIC",
        pattern=rf"\b(?:{_NAME}[- ]){{1,2}}(?:{'|'.join(_FOLK)})\b",
        words=_lower(_FOLK),
    ),
    Rule(kind="DEMOGRAPHIC", pattern=rf"\b{_NAME}-speaking\b", words=frozenset({"speaking"})),
    # Offices in firms: "head of sales", "CFO", "senior product designer"; and "a Tory voter".
    Rule(
        kind="DEMOGRAPHIC",
        pattern=r"\b(?:CEO|CFO|CTO|COO|CMO|CIO|CISO|EVP|SVP)\b|\b(?:[Hh]ead|[Dd]irector|"
        r"[Vv]ice[- ][Pp]resident|"
        r"[Pp]rofessor|[Ll]ecturer) (?:of|in) \p{L}[\p{L}-]+(?: (?:and|&) \p{L}[\p{L}-]+)?\b",
        words=frozenset(
            {"ceo", "cfo", "cto", "coo", "cmo", "cio", "ciso", "evp", "svp"}
            | {"head", "director", "vice", "professor", "lecturer"}
        ),
    ),
    Rule(
        kind="DEMOGRAPHIC",
        pattern=r"\b(?:[Ss]enior|[Jj]unior|[Cc]hief|[Ll]ead|[Pp]rincipal|"
        r"[Ss]taff) (?:[\p{L}-]+ ){0,2}"
        r"(?:designer|engineer|developer|nurse|architect|scientist|partner|lecturer|analyst|"
        r"officer|"
        r"consultant|accountant|manager|technician|producer|editor|buyer|planner|clerk)\b",
        words=frozenset({"senior", "junior", "chief", "lead", "principal", "staff"}),
    ),
    Rule(
        kind="DEMOGRAPHIC",
        pattern=r"\b\p{Lu}\p{L}{2,20} (?:voter|supporter|councillor|activist|sympathiser|"
        r"driver)s?\b",
        words=frozenset({"voter", "supporter", "councillor", "activist", "sympathiser", "driver"}),
    ),
    Rule(
        kind="DEMOGRAPHIC",
        pattern=rf"\b(?:{'|'.join(sorted(_STANDINGS, key=len, reverse=True))})\b"
        r"(?: (?:of|with) \w+ (?:minor )?children)?",
        words=_FIRST_WORDS,
        reads_capitals=False,
    ),
    Rule(
        kind="DEMOGRAPHIC",
        pattern=r"\b(?:first|second|third|fourth|former|common-law|ex-) ?(?:wife|husband|spouse)\b"
        r"|\bsingle (?:mother|father)(?: of \w+)?|\b(?:eldest|oldest|youngest) of \w+ children",
        words=frozenset({"wife", "husband", "spouse", "single", "children"}),
        reads_capitals=False,
    ),
    Rule(
        kind="DEMOGRAPHIC",
        pattern=r"\b(?:[\p{Ll}-]+ )?(?:intellectual|mental|physical|learning|\p{Ll}+-degree) "
        r"disabilit(?:y|ies)\b|\b(?:almost|partially|totally) (?:blind|deaf)\b",
        words=frozenset({"disability", "disabilities", "blind", "deaf"}),
        reads_capitals=False,
    ),
)
IN_COURT: tuple[Rule, ...] = (
    # "the then prison governor": a kind of officer tells more than "the officer".
    Rule(
        kind="DEMOGRAPHIC",
        pattern=rf"(?<=[\p{{L}}-] )(?:{'|'.join(_TRADES)}|\p{{Ll}}{{3,12}}ologist)s?(?![\p{{L}}-])"
        r"(?: of the [\p{Ll}-]+(?: [\p{Ll}-]+)?(?= (?:of|in|at|for)\b|[,.;)]))?",
        takes_modifiers=True,
        reads_capitals=False,
    ),
    # "He is a journeyman plasterer and".
    Rule(
        kind="DEMOGRAPHIC",
        pattern=r"\b(?:[Hh]e|[Ss]he|I|who|[Aa]pplicants?|[Hh]usband|[Ww]ife|[Ff]ather|[Mm]other|"
        r"[Ss]on|"
        r"[Dd]aughter|[Bb]rother|[Ss]ister) (?:is|was|are|were|had been|became|remained) "
        r"(?:then |formerly |still |now )?an? \K\p{Ll}[\p{L}'’ -]{2,40}?"
        r"(?=[,.;:)\"”]| (?:at|in|of|who|from|with|for|and|by|on|when|until|since|to|whose|"
        r"employed|living|serving|working)\b)",
    ),
    Rule(kind="PERSON", pattern=r"(?<![\p{L}\d.'’-])[XYZ](?![\p{L}\d'’-]|\.)"),
)
"""The same, for files of courts: trades by their last word, since there a driver is somebody, and
the letters that courts call people by."""

# Said of anybody: "the general rule", "a minor point", "a single case", "the judge".
_SAID_OF_ANYBODY = vocabulary.words("""
general, major, minor, single, captain, consul, cook, baker, manager, minister, judge, prosecutor,
public prosecutor, prisoner, clerk, clerk of court, registrar, young, adult, English, chairman,
director, magistrate, notary, solicitor, barrister, interpreter, translator, governor, editor,
publisher, conductor, referee, fashion model, investor, married, blind, retired, deaf, detective,
agent
""")


def _trie(words: Iterable[str]) -> str:
    """A pattern of any of the words that shares their beginnings, so that few are tried."""
    trie: dict[str, Any] = {}
    for word in words:
        node = trie
        for character in word:
            node = node.setdefault(character, {})
        node[""] = {}
    return _branches(trie)


def _branches(node: dict[str, Any]) -> str:
    parts = [re.escape(c) + _branches(more) for c, more in sorted(node.items()) if c]
    if not parts:
        return ""
    return f"(?:{'|'.join(parts)}){'?' if '' in node else ''}"


@cache
def descriptions(flags: int = 0) -> re.Pattern[str]:
    """Words of the vocabulary that say what somebody is."""
    pools = (
        vocabulary.NATIONALITIES,
        vocabulary.ETHNICITIES,
        vocabulary.RELIGIONS,
        vocabulary.OCCUPATIONS,
        vocabulary.CONDITIONS,
        vocabulary.DEM_STATUSES,
    )
    plain = {word for pool in pools for word in pool} - set(_SAID_OF_ANYBODY)
    plain |= {*_MORE_TRADES, *_MORE_FOLK}
    words = _trie(word.removeprefix("a ").removeprefix("an ") for word in plain)
    ending = r"s?(?: (?:national|citizen|origin))?s?(?![^\W\d_]|-)"
    return re.compile(rf"(?<![^\W\d_])(?<!-){words}{ending}", flags)
