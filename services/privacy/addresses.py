"""Patterns of postal addresses: English and Indian ones, and the continent's."""

from __future__ import annotations

from presidio_analyzer import Pattern

_STREET = (
    r"(?:Street|St|Road|Rd|Avenue|Ave|Lane|Ln|Drive|Boulevard|Blvd|Court|Ct|Place|Pl|Square|Sq|"
    r"Terrace|Crescent|Circle|Parkway|Pkwy|Highway|Hwy|Close|Way|Nagar|Colony|Layout|Marg|Vihar|"
    r"Enclave|Mews|Yard|Quay|Wharf|Row|Walk|Rise|Grove|Hill|Green|Society|Residency|Residences|"
    r"Apartments?|Apts?|Towers?|Heights|Gardens?|Estate|Chowk|"
    r"Bazaar|Puram|Main|Cross|Phase|Sector|Block|Kunj|Bagh|Park)\b"
)
_UNIT = r"(?:(?:Flat|House|Plot|Door|Apt|Apartment|Unit|Suite|Villa|Room)\.? ?(?:No\.?|Number)? ?)"
_NUMBER = r"#?(?:[A-Z]-?)?\d{1,5}(?:[A-Za-z](?![a-z]))?(?:[/-]\d{1,4}[A-Z]?)?"
_TOWN = r"\p{Lu}[\p{L}.'’-]{1,25}+(?: \p{Lu}[\p{L}.'’-]{1,25}+){0,2}"
# Words that start a sentence with a quantity: "About 450 000 people".
_STARTERS = (
    r"If|About|The|Of|And|In|At|For|Over|Only|Around|Nearly|Almost|There|With|From|Another|Some|"
    r"Then|Thus|So|But|When|After|Before|Since|While|This|That|These|Those|Each|Every|All|He|She|"
    r"They|We|It|Because|Out|Total|How"
)
_POSTCODE = r"[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b"
_TAIL = (
    rf"(?:(?:,\s?|\s?-\s?| )(?:{_POSTCODE}|{_UNIT}?{_NUMBER}(?!\w)"
    rf"|(?:\d(?:st|nd|rd|th) )?{_TOWN}|\d{{3}} \d{{3}}\b)){{0,6}}"
)
# Behind a continental street: a postcode and its town, "99999 Lindenau am See".
_SMALL = r"(?:am|an der|ob der|im|in|bei|auf|sur|sous|en|aan|de|du|des|la|le|les|del|di|da)"
# Floors and doors between: "3º izda.", of which patterns see "3o", "m. 12", "Int. 7".
_FLOOR = (
    r"(?:,? (?:\d{1,2}[oa°]\b\.?(?: ?(?:izda|dcha|[A-Z])\b\.?)?"
    r"|(?:m|lok|[Ii]nt|[Pp]iso|[Aa]pp|[Aa]pt|pt|[Dd]pto|Top|Stiege)\.? \d{1,4}[A-Za-z]?\b)){0,2}+"
)
_CODE_AND_TOWN = (
    rf"{_FLOOR}(?:(?:, ?|\n ?| )(?:[A-Z]{{1,2}}-)?(?:\d{{4,5}}|\d\d-\d{{3}}|\d{{3}} \d\d)"
    rf"(?: [A-Z]{{2}}(?![\p{{L}}]))? "
    rf"\p{{Lu}}[\p{{L}}'’-]+(?:[ -](?:{_SMALL}[ -]){{0,2}}\p{{Lu}}[\p{{L}}'’-]+){{0,3}})?"
)
_DOOR = r"\d{1,4}(?: ?(?:bis|ter|[a-zA-Z])(?![\p{L}\d]))?(?:[/-]\d{1,4})?(?![\d.%])"
_OF = (
    r"(?:(?:de|du|des|della|delle|dei|degli|di|del|dell['’]|la|le|les|l['’]|el|los|las|da|do|dos|"
    r"das|"
    r"d['’]) ?){0,3}"
)
_NAME = rf"{_OF}\p{{Lu}}[\p{{L}}'’.-]*(?: {_OF}\p{{Lu}}[\p{{L}}'’.-]*){{0,4}}"
_CODE = r"(?:\d{4,6}|\d{3} \d{2})"
_CONTINENTAL = (
    # "Sankt Olavs gate 3, 0165 Oslo", "Ermou 15, Athens 105 63".
    Pattern(
        "street, code and town",
        r"(?<![\p{L}'’-])\p{Lu}[\p{L}.'’-]{1,25}+(?: \p{L}[\p{L}.'’-]{1,25}+){0,3} "
        r"\d{1,4}(?:/\d{1,4})?(?: ?[A-Za-z](?: \d{1,3})?)?, "
        rf"(?:(?:[A-Z]{{1,2}}-)?{_CODE} \p{{Lu}}[\p{{L}}-]{{1,25}}+(?: \d{{1,2}}\b)?"
        rf"|\p{{Lu}}[\p{{L}}-]{{1,25}}+,? {_CODE})(?![\w-])",
        0.6,
    ),
    Pattern(
        "germanic street",
        r"\b\p{Lu}[\p{L}'’.-]*(?:stra(?:ß|ss)e|str\.|weg|gasse|platz|allee|damm|ufer|chaussee|"
        r"steig|"
        r"pfad|straat|laan|plein|gracht|gatan|vägen|vej|utca)"
        rf" {_DOOR}{_CODE_AND_TOWN}",
        0.6,
    ),
    Pattern(
        "germanic street of words",
        rf"\b(?:(?:Am|An der|Im|Zum|Zur|Auf der|Unter den|\p{{Lu}}[\p{{L}}-]+) )?"
        rf"(?:\p{{Lu}}[\p{{L}}-]+ )?"
        rf"(?:Stra(?:ß|ss)e|Weg|Gasse|Platz|Allee|Ring|Damm|Ufer|Laan|Linden) "
        rf"{_DOOR}{_CODE_AND_TOWN}",
        0.5,
    ),
    Pattern(
        "number before street",
        r"(?<![\w$€£.,/+*=-])\d{1,4}(?: ?(?:bis|ter|[a-zA-Z])(?!\p{L}))?,? "
        r"(?:[Rr]ue|[Aa]venue|[Bb]oulevard|[Bb]d\.?|[Cc]hemin|[Cc]h\.|[Ii]mpasse|[Aa]llée|[Qq]uai|"
        r"Place|place (?=de|du|des)|[Rr]oute)"
        rf" {_NAME}{_CODE_AND_TOWN}",
        0.6,
    ),
    Pattern(
        "number behind street",
        r"\b(?:Calle|C/|Avenida|Avda\.?|Av\.|[Uu]l\.|[Aa]l\.(?= \p{Lu})|Carrera|Calz\.|Paseo|Plaza|"
        r"Carrer|Via|Viale|Piazza|Corso|Largo|Vicolo|Rua|Travessa|"
        r"Praça|Avenue|Rue|Boulevard|Chaussée)"
        rf" {_NAME},? (?:n[º°.]?\.? ?|nº |num\. )?{_DOOR}{_CODE_AND_TOWN}",
        0.6,
    ),
)
_SHOUTED_STREET = (
    r"(?:STREET|ST|ROAD|RD|AVENUE|AVE|LANE|LN|DRIVE|DR|BOULEVARD|BLVD|CLOSE|CRESCENT|TERRACE|"
    r"SQUARE|GARDENS|GROVE|COURT|PLACE|WAY|HILL|NAGAR|COLONY|MARG)\b\.?"
)
_HOUSE = (
    r"(?:COTTAGE|HOUSE|LODGE|FORGE|FARM|FARMHOUSE|BARN|MILL|RECTORY|VICARAGE|MANOR|HALL|BUNGALOW|"
    r"VILLA|GRANGE|COTTAGES|STABLES|CHAPEL|BAKERY|SCHOOLHOUSE)"
)
ADDRESSES = (
    Pattern(
        "street address",
        rf"(?<![\w$₹€£.,/+*=-])#?\d{{1,5}}(?:[A-Za-z](?![a-z]))?(?:[/-]\d{{1,4}}[A-Z]?)?(?:, ?| )"
        rf"(?:{_UNIT}?{_NUMBER}(?:, ?| ))?"
        rf"(?:(?:\p{{Lu}}[\p{{L}}.'’-]*|\d{{1,3}}(?:st|nd|rd|th))(?:, ?| )){{1,4}}{_STREET}{_TAIL}"
        rf"(?:[^\n\d]{{0,12}}(?:\n[ ,]{{0,6}}\p{{L}}[^\n\d]{{1,30}}){{1,2}}\d{{5,6}}\b)?",
        0.7,
    ),
    Pattern("unit", r"\b(?:Apt|APT|apt|Suite|suite|Ste)\.? ?#?\d{1,4}[A-Z]?\b", 0.5),
    Pattern(
        "flat",
        rf"\b(?:Flat|Plot|Door|House|Unit|Villa)(?: No\.?| Number)? ?#?{_NUMBER},{_TAIL}",
        0.6,
    ),
    Pattern(
        "flat of a letter",
        r"\b(?:Flat|Unit|Apt|Apartment|Suite|Room) [A-Z],(?=[^\n]{0,20}\d)"
        rf"(?: ?(?:\d{{1,3}}/F|(?:Block|Tower|Phase|Floor|Level) [A-Z\d]{{1,3}}|{_TOWN}),?){{1,5}}",
        0.6,
    ),
    Pattern("block", rf"(?<![\w.$/+*=-])[A-Z]-\d{{1,4}}(?:/\d{{1,4}})?,(?= ?\p{{Lu}}){_TAIL}", 0.5),
    Pattern(
        "named house",
        r"\b\p{Lu}\p{Ll}+ (?:Cottage|House|Lodge|Forge|Farm|Building|Court|Villa),"
        rf"(?=[^\n]{{0,40}}\d){_TAIL}",
        0.5,
    ),
    Pattern(
        "town and code",
        rf"(?<![\p{{L}}.'’-])(?!(?:{_STARTERS})\b){_TOWN}(?:,? [A-Z]{{2}},?)? ?[,-]? ?"
        rf"(?<![\d$])[1-9]\d{{2}} ?\d{{3}}(?![\w,.]\d|\w|-\d| ?[%+*/=])",
        0.45,
    ),
    Pattern("state and zip", rf"{_TOWN},? [A-Z]{{2}},? \d{{5}}(?:-\d{{4}})?(?![\w-])", 0.6),
    Pattern(
        "shouted street",
        rf"(?<![\w$₹€£.,/+*=-])\d{{1,4}}[A-Z]?,? (?:[A-Z][A-Z'’-]{{1,14}} ){{1,2}}{_SHOUTED_STREET}"
        r"(?:, ?[A-Z][A-Z'’-]{2,14}(?: [A-Z]{2,12})?)?(?![\w])",
        0.5,
    ),
    Pattern(
        "shouted house",
        rf"(?<!\w)(?:[A-Z][A-Z'’-]{{1,14}} ){{1,3}}{_HOUSE}, ?(?:[A-Z][A-Z'’-]{{1,14}} ){{1,2}}"
        rf"{_SHOUTED_STREET}(?:, ?[A-Z][A-Z'’-]{{2,14}}(?: [A-Z]{{2,12}}){{0,2}}){{0,3}}(?![\w])",
        0.6,
    ),
    Pattern(
        "british and canadian postcode",
        r"\b[A-Z]{1,2}\d[A-Z\d]? \d[A-Z](?:[A-Z]|(?<=\b[A-Z]\d[A-Z] \d[A-Z])\d)\b",
        0.6,
    ),
    *_CONTINENTAL,
    Pattern(
        "coordinates",
        r"(?<![\w.])[-+]?\d{1,3}\.\d{4,8}°? ?[NS]?,\s?"
        r"[-+]?\d{1,3}\.\d{4,8}(?:°? ?[EW]\b)?(?![\w.]\d)",
        0.5,
    ),
)
"""Patterns that read capital letters."""
ADDRESSES_ANY_CASE = (
    Pattern(
        "address cue",
        r"\b(?:address(?: is|'s|:| -|, )|i live at|lives? at|living at|(?:ship|deliver|send)(?:ed)?"
        r"(?: it)? to|moved to)\s{0,2}(?:still |now |as )?"
        rf"\K(?=.{{0,25}}\d)(?=[#\dA-Z]){_UNIT}?#?(?:[a-z]-?)?"
        r"\d(?!\d*\s(?:people|days?|hours?|times|homes|houses|customers|different|more|other)\b)"
        r"[^!?\n;]{4,90}?"
        r"(?=[!?\n;]|\.(?:\s|$)|$| and my | but | please| pls| thanks)",
        0.6,
    ),
    Pattern(
        "postal code cue",
        r"\b(?:pin ?code|pin|zip ?code|zip|postal code|postcode)\b"
        r"(?: is|:|-|\s){0,3}\K\d{5,6}(?:-\d{4})?(?!\d)",
        0.7,
    ),
    Pattern(
        "unit behind street",
        r"(?<![\w$₹€£.,/+*=-])(?:\d{1,5} ){1,2}\p{L}[^\n\d]{2,40}(?: \d{1,5}\.?)?"
        r",?\s{1,4}(?:apt|suite)\.? ?\d{1,4}"
        r"(?:(?:[ ,]{1,3}|[ ,]{0,3}\n[ ,>?]{0,6})\p{L}[^\n\d]{1,40}){0,3}(?:\b\d{5,6}\b)?",
        0.6,
    ),
    Pattern(
        "lower-case street",
        r"(?<![\w$₹€£.,/+*=-])#?\d{1,5}[a-z]?(?:[/-]\d{1,4})?,? (?:[a-z'’]+,? ){1,4}?"
        r"(?:street|road|rd|avenue|"
        r"lane|nagar|colony|apartments?|layout|marg|vihar|enclave|"
        r"cross)\b[^.!?\n]{0,50}?\b\d{5,6}\b",
        0.6,
    ),
)
"""Patterns for whatever case of letters."""
