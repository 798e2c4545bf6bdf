r"""Recognizers: patterns for the identifiers of support dialogues that Presidio does not know.

Each is a Presidio `PatternRecognizer`. `\K` drops the cue from a match ("order number \K123"), so
that only the identifier itself is replaced. Cues ask for digits and are tried on worked maths
problems: a quantity must never become an identifier.
"""

from __future__ import annotations

import regex
from presidio_analyzer import EntityRecognizer, Pattern, PatternRecognizer
from presidio_analyzer.predefined_recognizers import CreditCardRecognizer

from .addresses import ADDRESSES, ADDRESSES_ANY_CASE
from .chat_patterns import CHAT_AGES, CHAT_HANDLES, PROFILE_PAGES
from .national import NATIONAL_IDS, NATIONAL_IDS_BY_CUE, PLATES, PLATES_BY_CUE
from .secret_patterns import SECRETS, SECRETS_BY_CUE, WALLETS
from .spoken import spoken_recognizers

_IGNORE_CASE = regex.IGNORECASE | regex.MULTILINE
_EXACT_CASE = regex.MULTILINE

# A code holds at least so many digits, and may hold letters, hyphens, slashes.
_CODE = r"(?=(?:[a-z/_-]*\d){{{digits}}})[a-z0-9](?:[\w/-]*[a-z0-9])?(?![\w$₹€£%])"
_CODE_3 = _CODE.format(digits=3)
_CODE_6 = _CODE.format(digits=6)
# Behind "number": digits in groups as well.
_GROUPED = rf"(?-i:[A-Z]{{2,4}} (?=\d))?{_CODE_3}(?: \d{{2,6}}\b){{0,4}}"
# Standing alone: many digits, or a capital letter among fewer.
_CAPITAL = r"(?-i:(?=[\d/-]*[A-Z])(?=(?:[A-Z/_-]*\d){4})[A-Z0-9][A-Z0-9/-]*[A-Z0-9](?!\w))"
_MIXED = rf"(?:{_CODE_6}|{_CAPITAL})"
_QUALIFIER = r"[ _-]?(?:ids?|no|nos|num|numbers?|reference|ref|code)\b\.?"
_LINK = r"(?:\s{0,3}(?:\b(?:is|was|are|for|of)\b|[:#=(|\"'\-]))*\s{0,3}\#?"

_ORDER = (
    r"order|invoice|purchase|booking|receipt|refund|return|shipment|confirmation|reservation|"
    r"parcel|package"
)
_ACCOUNT = (
    r"account|acct|a/c|customer|client|member|membership|user|policy|employee|staff|transaction|"
    r"txn|utr|reference|ticket|case|complaint|claim|service request|request|loan|contract|"
    r"patient|student|registration|serial|badge|pension|imei|vin|card"
)
_TRACKING = r"tracking|awb|consignment|waybill|docket"

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|"
    r"sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)"
)
_DATE = (
    r"(?:\d{1,4}[/.\-]\d{1,2}[/.\-]\d{2,4}"
    rf"|\d{{1,2}}(?:st|nd|rd|th)?(?: of)?[ \-]{_MONTH},?[ \-]\d{{2,4}}"
    rf"|{_MONTH}\.? \d{{1,2}}(?:st|nd|rd|th)?,? \d{{4}})\b"
)


def own_recognizers() -> list[EntityRecognizer]:
    """All of them, freshly made."""
    return [
        _numbered("ORDER_ID", _ORDER, _ORDER, *_ORDER_SHAPES),
        _numbered("ACCOUNT_ID", _ACCOUNT, _ACCOUNT_BARE, *_ACCOUNT_SHAPES),
        _numbered("TRACKING_ID", _TRACKING, _TRACKING, *_TRACKING_SHAPES),
        _recognizer("ACCOUNT_ID", _BANK_CODES, _IGNORE_CASE),
        _recognizer("PHONE_NUMBER", _PHONES, _IGNORE_CASE),
        CreditCardRecognizer(patterns=[_CARD_SHAPE], name="AnyCardRecognizer"),
        _recognizer("CREDIT_CARD", _CARDS, _IGNORE_CASE),
        _recognizer("IBAN_CODE", _IBANS, _IGNORE_CASE),
        CheckedIbanRecognizer(),
        _recognizer("US_SSN", _SOCIAL, _IGNORE_CASE),
        _recognizer("US_PASSPORT", _PASSPORTS, _IGNORE_CASE),
        _recognizer("US_DRIVER_LICENSE", _LICENCES, _IGNORE_CASE),
        _recognizer("DATE_OF_BIRTH", _BIRTH_DATES, _IGNORE_CASE),
        _recognizer("USERNAME", _USERNAMES, _IGNORE_CASE),
        _recognizer("USERNAME", CHAT_HANDLES, _IGNORE_CASE),
        _recognizer("AGE", CHAT_AGES, _IGNORE_CASE),
        *spoken_recognizers(),
        _recognizer("URL", _URLS, _IGNORE_CASE),
        _recognizer("URL", PROFILE_PAGES, _IGNORE_CASE),
        _recognizer("EMAIL_ADDRESS", _SPOKEN_EMAILS, _IGNORE_CASE),
        _recognizer("EMAIL_ADDRESS", _INNER_EMAILS, _IGNORE_CASE),
        _recognizer("ADDRESS", ADDRESSES, _EXACT_CASE),
        _recognizer("ADDRESS", ADDRESSES_ANY_CASE, _IGNORE_CASE),
        _recognizer("CRYPTO", WALLETS, _EXACT_CASE),
        _recognizer("SECRET", SECRETS, _EXACT_CASE),
        _recognizer("SECRET", SECRETS_BY_CUE, _IGNORE_CASE),
        _recognizer("VEHICLE_PLATE", PLATES, _EXACT_CASE),
        _recognizer("VEHICLE_PLATE", PLATES_BY_CUE, _IGNORE_CASE),
        _recognizer("NATIONAL_ID", NATIONAL_IDS, _EXACT_CASE),
        _recognizer("NATIONAL_ID", NATIONAL_IDS_BY_CUE, _IGNORE_CASE),
    ]


class CheckedIbanRecognizer(PatternRecognizer):
    """IBANs in any case of letters, by their check digits (ISO 13616)."""

    def __init__(self) -> None:
        super().__init__(
            supported_entity="IBAN_CODE",
            patterns=[Pattern("any case", _IBAN_SHAPE, 0.3)],
            name="CheckedIbanRecognizer",
            global_regex_flags=_IGNORE_CASE,
        )

    def validate_result(self, pattern_text: str) -> bool:
        """Whether the number leaves a remainder of one when divided by 97."""
        plain = "".join(c for c in pattern_text if c.isalnum())
        return (
            plain.isascii()
            and int("".join(str(int(c, 36)) for c in plain[4:] + plain[:4])) % 97 == 1
        )


def _recognizer(entity: str, patterns: tuple[Pattern, ...], flags: int) -> PatternRecognizer:
    return PatternRecognizer(
        supported_entity=entity,
        # Recognizers are sealed against time-outs pattern by pattern: none may be shared.
        patterns=[Pattern(p.name, p.regex, p.score) for p in patterns],
        name=f"{patterns[0].name.title().replace(' ', '')}Recognizer",
        global_regex_flags=flags,
    )


def _numbered(entity: str, cues: str, bare_cues: str, *shapes: Pattern) -> PatternRecognizer:
    """Codes after a cue: few digits if the cue says "number" or "#", many if it stands alone."""
    pattern = (
        rf"\b(?:(?:{cues})(?:s?{_QUALIFIER}{_LINK}|\s?(?:#|:|no\.)\s?\#?)\K{_GROUPED}"
        rf"|(?:{bare_cues})s?\s(?:is\s|was\s)?\K{_MIXED})"
    )
    name = f"{entity.partition('_')[0]} cue"
    return _recognizer(entity, (Pattern(name, pattern, 0.7), *shapes), _IGNORE_CASE)


_ACCOUNT_BARE = (
    r"account|acct|a/c|reference|ticket|complaint|transaction|txn|utr|case|policy|badge|claim|"
    r"membership|case id|customer id|imei|vin"
)
_ORDER_SHAPES = (
    Pattern(
        "letters and digits",
        r"(?-i:(?<![\w/=.-])[A-Z]{1,4}-?\d{7,12}(?:-[A-Z0-9]{1,4}| \d{2,4})?(?![\w=.-]))",
        0.5,
    ),
    Pattern(
        "order and number",
        r"\border \K\d{4,}"
        r"(?=[,.;:!?)]|\s(?:is|was|has|had|never|came|still|and|but|not|from)\b|\s*$)",
        0.5,
    ),
    Pattern(
        "order prefix",
        r"(?<![\w/=.-])(?:ord|po|inv|so|rma|tkt|inc|req|sr|cs)-?\d{5,12}(?:-\w{1,4})?(?![\w=.-])",
        0.5,
    ),
    Pattern("three blocks", r"(?<![\w.$-])\d{3}-\d{5,8}-\d{4,8}(?![\w-])", 0.8),
    Pattern(
        "long blocks",
        r"(?<![\w.$-])(?=(?:-?\d){12,20}(?!-?\d))\d{2,6}(?:-\d{3,10}){1,3}(?![\w-])",
        0.6,
    ),
)
_ACCOUNT_SHAPES = (
    Pattern(
        "hash",
        r"(?-i:(?<![\w&/])#\K(?=(?:[A-Z-]{0,12}\d){5})[A-Z0-9][A-Z0-9-]{1,40}[A-Z0-9](?!\w))",
        0.5,
    ),
    Pattern(
        "ending in",
        r"\b(?:account|acct|a/c|card)[^.\n\d]{0,30}ending (?:(?:in|with|on) )?\K\d{3,6}\b",
        0.6,
    ),
    Pattern(
        "mixed code",
        r"(?-i:(?<![\w/=.-])(?=[A-Z0-9]{11,24}(?![\w=.]))(?=(?:[A-Z]{0,20}\d){4})(?="
        r"(?:\d{0,22}[A-Z]){2})[A-Z0-9]{11,24}(?![\w=.]))",
        0.45,
    ),
    Pattern(
        "long number",
        r"(?<![\w.{,$₹€£%^*/+=<>(\[-])(?<![-+*/=<>^]\s)(?!\d{0,16}000\b)\d{11,18}(?![\w%^*/+=<>]|"
        r"\s?[-+*/=<>^×]|[.,]\d)",
        0.45,
    ),
)
_BANK_CODES = (
    Pattern(
        "bank code cue",
        r"\b(?:bic|swift|ifsc|sort code|routing(?: number)?|iban/bic)(?: (?:code|number|no\.?))?"
        rf"{_LINK}\K(?:(?-i:[A-Z]{{6}}[A-Z0-9]{{2}}(?:[A-Z0-9]{{3}})?)|[a-z]{{4}}0\w{{6}}|"
        rf"\d\d-\d\d-\d\d|\d{{6,9}})(?!\w)",
        0.6,
    ),
)
_TRACKING_SHAPES = (
    Pattern("ups", r"\b1Z[0-9A-Z]{16}\b", 0.9),
    Pattern("postal union", r"(?-i:\b[A-Z]{2}\d{9}[A-Z]{2}\b)", 0.8),
)
_PHONES = (
    Pattern(
        "phone cue",
        r"\b(?:phone|mobile|mob|cell|cellphone|landline|contact|whatsapp|telephone|tel|ph|fax|"
        r"handy|mobil|telefon|tél(?:éphone)?|portable|celular|m[oó]vil|tlf|rufnummer|"
        r"my (?:number|no|num)|(?:call|text|reach|ring|phone|bell|txt)"
        r"(?: me| us| him| her| them)?(?: back)?(?: at| on|"
        r"(?= ?:?[ +(]{1,3}0\d)))\b[^\d\n+($₹€£]{0,16}"
        r"\K[+(]{0,2}(?=(?:[ ().-]{0,2}\d){7,14}(?!\d))\d[\d ().-]{5,18}\d(?!\w)",
        0.6,
    ),
    Pattern(
        "north american",
        r"(?<![\w.$/-])(?:\+?1[ .-])?(?:\(\d{3}\) ?|\d{3}[ .-])\d{3}[.-]\d{4}(?![\w-])",
        0.5,
    ),
    Pattern(
        "international",
        r"(?<![\w+])\+\d{1,3}[ .-]?\(?\d{1,5}\)?(?:[ .-]?\d{2,5}){2,5}(?![\w-])",
        0.5,
    ),
    Pattern(
        "international with zeros",
        r"(?<![\w.$/+-])00[1-9]\d{0,2}(?:[ .-]|\(0\)){1,3}\d{1,5}(?:[ .-]\d{2,5}){1,4}(?![\w-]|"
        r"[.,]\d)",
        0.6,
    ),
    Pattern(
        "extended",
        r"(?<![\w.$/-])(?:(?:\+|00)?\d{1,3}[ .-])?\(?\d{3}\)?[ .-]?\d{3}[ .-]\d{4}"
        r"\s?(?:x|ext\.?)\s?\d{1,6}\b",
        0.6,
    ),
    Pattern(
        "phone label behind",
        r"(?<![\w.$/-])\+?\(?\d(?:[ ().-]{0,2}\d){6,13}"
        r"(?=[ -]{1,3}(?:office|fax|desk|mobile|cell|home)\b)",
        0.6,
    ),
    Pattern("extension", r"\b(?:ext|extn|extension)\.? ?(?:no\.? ?)?:? ?\K\d{3,6}(?![\w.])", 0.5),
    Pattern("fictitious", r"(?<![\w.$/-])555-\d{4}(?![\w-])", 0.5),
)
_CARDS = (
    Pattern(
        "card cue",
        r"\b(?:card|visa|mastercard|amex|maestro|rupay|debit|credit)\b[^\d\n]{0,25}"
        r"\K\d(?:[ -]?\d){12,18}(?!\d)",
        0.6,
    ),
)
_IBANS = (
    Pattern(
        "iban cue",
        r"\biban\b[^\d\n]{0,20}?\K[a-z]{2}\d{2}(?: ?[a-z0-9]{4}){2,7}(?: ?[a-z0-9]{1,4})?\b",
        0.7,
    ),
)
_IBAN_SHAPE = r"(?<![\w-])[a-z]{2}\d{2}(?:[ -]?[a-z0-9]{4}){2,7}(?:[ -]?[a-z0-9]{1,4})?(?![\w-])"
_CARD_SHAPE = Pattern(
    "any network", r"(?<![\d.,-])[2-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{2,7}(?![\d-])", 0.3
)
_SOCIAL = (
    Pattern(
        "ssn cue",
        r"\b(?:ssn|social security)\b[^\d\n]{0,20}\K\d{3}[ .-]?\d{2}[ .-]?\d{4}(?!\d)",
        0.8,
    ),
)
_PASSPORTS = (Pattern("passport cue", rf"\bpassport(?:{_QUALIFIER})?{_LINK}\K{_CODE_6}", 0.7),)
_LICENCES = (
    Pattern(
        "licence cue",
        rf"\b(?:driver['’]?s?|driving) licen[cs]e(?:{_QUALIFIER})?{_LINK}\K{_CODE_3}",
        0.7,
    ),
)
_BIRTH_DATES = (
    Pattern(
        "birth cue",
        r"\b(?:dob|d\.o\.b\.?|date[ _-]?of[ _-]?birth|birth[ _-]?(?:date|day)|born)(?![a-z])"
        rf"[^\d]{{0,24}}?\K{_DATE}",
        0.8,
    ),
)
_HOME = (
    r"[\\ ]{0,3}\n?"
    r"(?!(?:root|user|users|username|shared|public|default|ubuntu|runner|admin|app|me|node|git|"
    r"vagrant|docker|jovyan|ec2-user|pi|you|yourname|your)\b)[a-z][\w.-]{1,38}\w"
)
_USERNAMES = (
    Pattern(
        "handle",
        r"(?<![\w@./])@(?!media\b|import\b|param\b|return|property\b|override\b)"
        # A line of its own above a definition is a decorator.
        r"(?=[\w.]{3,31}(?![\w.]))[a-z_]\w*+(?:\.\w+)*+(?![\w(@])(?!\s*\n\s*(?:@|def|class|async|"
        r"public|private|protected|static)\b)",
        0.5,
    ),
    Pattern(
        "username cue",
        r"\b(?:user ?name|user id|user|login(?: id| name)?|screen name|handle|skype|telegram|"
        r"instagram|insta|twitter|discord|gamertag|profile|(?:logg?(?:ed)?|sign(?:ed)?) in as|"
        r"known as|behalf as|username (?:from|to)|goes by)(?![a-z])"
        r"(?: (?:id|handle|name|account)\b)?"
        r"['\"]?(?: is| was|\s?[:|=]|,| -|[^.!?\n]{0,24}\?\s)?\s{0,2}['\"]?"
        r"\K(?=[\w.-]*[\d_]|\w+\.\w|\w+['\"])@?[a-z][\w.-]{2,30}\w",
        0.6,
    ),
    Pattern("username line", r"\buser ?name:\s\K@?[\w][\w.-]{2,30}\w", 0.6),
    Pattern(
        "numbered handle", r"(?<![\w@/.$-])[a-z]{3,30}+[_.][a-z]{3,30}+\d{2,4}+(?![\w@(.=])", 0.45
    ),
    Pattern("home folder", rf"(?<![\w.])/(?:home|Users|c/Users)/\K{_HOME}", 0.6),
    # A backslash before an r, n or t reads as white space: the shadow has it so.
    Pattern("windows home folder", rf"(?<![\w.])[A-Z]:\\{{1,2}}Users(?=[\\ ])\K{_HOME}", 0.6),
    Pattern(
        "payment handle",
        r"(?<![\w.-])[\w.-]{2,40}@(?:ybl|upi|paytm|axl|ibl|apl|ok(?:axis|sbi|icici|hdfcbank)|"
        r"sbi|icici|hdfcbank)\b(?!\.\w)",
        0.7,
    ),
)
_SPOKEN_EMAILS = (
    Pattern(
        "at in brackets",
        r"(?<![\w.])[\w.+-]{2,40} ?[\[({<] ?at ?[\])}>] ?[\w-]{2,40}"
        r"(?:(?:\.| ?[\[({<] ?dot ?[\])}>] ?)[\w-]{2,24}){1,3}(?!\w)",
        0.8,
    ),
    Pattern(
        "at and dot",
        r"\b\w[\w-]{1,30}(?: dot [\w-]{1,30}){0,3} at [\w-]{2,30}(?: dot [\w-]{2,30}){0,2} dot "
        r"(?:com|net|org|co|uk|in|io|edu|de|fr|es|it|info|gov|us|ca|au)(?: dot uk)?\b",
        0.6,
    ),
)
_INNER_EMAILS = (
    Pattern(
        "inner e-mail",
        r"(?<![\w.+-])\w[\w.+-]{0,62}@(?:[a-z0-9-]{1,63}\.){0,4}"
        r"(?:localhost|localdomain|local|internal|intranet|lan|corp|home|private|"
        r"example|test|invalid|onion|alt)(?![\w-]|\.\w)",
        0.6,
    ),
)
"""Of hosts without a public suffix, which only a company or a household knows (RFC 6762, appendix
G), or nobody (RFC 2606 and 9476)."""
_URLS = (Pattern("url", r"(?<![\w@])(?:https?://|www\.)[^\s<>\"'()\[\]{}|\\^`]{3,}", 0.6),)
