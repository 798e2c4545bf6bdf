"""Patterns of national numbers and vehicle plates, for texts that hold those of many countries.

By shape, not by check digit: a number with a typing error in it is still somebody's. What is no
more than a row of digits needs a telling word before it. Sources of the shapes: HMRC NIM39110
(NINO), INSEE (NIR), BZSt and DRV (Germany), Orden INT/2058/2008 (NIF, NIE), D.M. 12/03/1974
(codice fiscale), UIDAI and the Income Tax Department (India), Receita Federal (CPF), ICA
(NRIC), ZAS (AHV).
"""

from __future__ import annotations

from presidio_analyzer import Pattern

_CODE = r"(?=(?:[a-z ./-]?\d){4})[a-z0-9](?:[ ./-]?[a-z0-9]){5,19}(?![\w])"
_LINK = (
    r"(?:\s{0,3}(?:\b(?:is|was|no|nr|num|number|nummer|numero|número|numéro|lautet|est|es|è)\b\.?"
    r"|[:#=(º°-]))*\s{0,3}"
)
# "And your TFN?", and what is said next, by whoever says it.
_ANSWER = (
    r"(?:\?\s{0,2}\n\s{0,2}(?:\[\w{1,20}\]|\w{1,20}:)?\s{0,2}"
    r"(?:(?:it['’]?s|its|yes|yep|sure|ok|that is)\b[, ]{1,2})?)"
)


NATIONAL_IDS = (
    Pattern("british insurance", r"\b[A-Z]{2}(?: ?\d{2}){3} ?[A-D]\b", 0.6),
    Pattern("spanish", r"(?<![\w-])(?:\d{8}|[XYZ]-?\d{7})-?[A-Z](?![\w-])", 0.5),
    Pattern(
        "italian",
        r"\b[A-Z]{3} ?[A-Z]{3} ?\d{2}[A-EHLMPRST]\d{2} ?[A-Z]\d{3}[A-Z]\b",
        0.8,
    ),
    Pattern(
        "french",
        r"(?<![\w.-])[12378] \d{2} (?:0[1-9]|1[0-2]|[2-9]\d) (?:\d{2}|2[AB])"
        r" \d{3} \d{3}(?: \d{2})?(?![\w-])",
        0.8,
    ),
    Pattern("german pension", r"(?<![\w-])\d{2} ?\d{6} ?[A-Z] ?\d{3}(?![\w-])", 0.6),
    Pattern(
        "german tax", r"(?<![\w.-])[1-9]\d \d{3} \d{3} \d{3}(?![\w.,-]\d|\w| \d| ?[-+*/=<>^×])", 0.5
    ),
    Pattern("indian identity", r"(?<![\w.$+-])[2-9]\d{3} \d{4} \d{4}(?![\w-]| \d)", 0.5),
    Pattern("indian tax", r"(?<![\w-])[A-Z]{5}\d{4}[A-Z](?![\w-])", 0.6),
    Pattern("singaporean", r"(?<![\w-])[STFGM]\d{7}[A-Z](?![\w-])", 0.5),
    Pattern("swiss", r"(?<![\w.])756\.\d{4}\.\d{4}\.\d{2}(?![\w.]\d|\w)", 0.8),
    Pattern("brazilian", r"(?<![\w.-])\d{3}\.\d{3}\.\d{3}-\d{2}(?![\w-])", 0.8),
)
NATIONAL_IDS_BY_CUE = (
    Pattern(
        "national number cue",
        r"\b(?:national insurance|nino|ni number|national id(?:entity)?(?: card)?|"
        r"identity card|id card|"
        r"steuer-?id(?:entifikationsnummer)?|steuernummer|sozialversicherungsnummer|"
        r"rentenversicherungsnummer|"
        r"(?:personal)?ausweis(?:nummer)?|reisepass(?:nummer)?|"
        r"d\.?n\.?i\.?(?= ?[:#n\d])|n\.?i\.?[fe]\.?(?= ?[:#n\dxyz])|"
        r"numéro de sécurité sociale|sécurité sociale|n\.?i\.?r\.?(?= ?[:n\d])|"
        r"codice fiscale|carta d['’]identità|cpf|curp|bsn|burgerservicenummer|pesel|personnummer|"
        r"social insurance|sin(?= ?(?:no|number|:|is)\b| \d{3}[ -]\d{3}[ -]\d{3}\b)|tax file|tfn|"
        r"medicare|nric|"
        r"ird(?= ?(?:no|number|#|:))|pps(?:n|(?= ?(?:no|number)))|hkid|cnic|bvn|iqama|emirates id|"
        r"nin(?= ?(?:no|number|:|is)\b)|c[eé]dula|cuil|"
        r"aadhaar|aadhar|uid(?: number| no)|pan card|"
        r"pan(?= ?(?:no|number|:|is)\b))"
        rf"(?: ?(?:card|number|no|id|code))?(?:{_ANSWER}|{_LINK})\K{_CODE}",
        0.7,
    ),
)

PLATES = (
    Pattern("british plate", r"(?<![\w-])[A-HJ-PR-Y]{2}[0-7]\d [A-HJ-PR-Z]{3}(?![\w-])", 0.6),
    Pattern(
        "french and italian plate",
        r"(?<![\w-])[A-HJ-NP-TV-Z]{2}-\d{3}-[A-HJ-NP-TV-Z]{2}(?![\w-])",
        0.6,
    ),
    Pattern("german plate", r"(?<![\w-])[A-ZÄÖÜ]{1,3}-[A-Z]{1,2} \d{1,4}[EH]?(?![\w-])", 0.5),
    Pattern(
        "indian plate",
        r"(?<![\w-])(?:A[NPRS]|BR|C[GH]|D[DLN]|G[AJ]|H[PR]|J[HK]|K[AL]|L[AD]|M[HLNPZ]|NL|O[DR]|"
        r"P[BY]|RJ|SK|"
        r"T[GNRS]|U[AKP]|WB)[ -]?\d{1,2}[ -]?[A-Z]{1,3}[ -]?\d{4}(?![\w-])",
        0.7,
    ),
)
PLATES_BY_CUE = (
    Pattern(
        "plate cue",
        r"\b(?:licen[cs]e plate|number ?plate|plates?|tag number|vehicle registration|"
        r"registration (?:plate|mark)|"
        r"(?:car|vehicle|van|bike|truck) (?:reg|registration|number|no)|kennzeichen|matr[ií]cula|"
        r"immatriculation|targa|nummernschild)\b\.?"
        rf"(?: ?(?:number|no)\b\.?)?{_LINK}"
        r"\K(?:(?-i:(?=[A-Z -]{0,10}\d)[A-Z0-9]{1,7}(?:[ -][A-Z0-9]{1,4}){0,3})"
        r"|(?=[a-z]{0,4}\d)[a-z0-9]{4,10}(?: [a-z]{3})?)(?!\w)",
        0.7,
    ),
)
