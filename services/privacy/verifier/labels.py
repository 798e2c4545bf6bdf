"""Labels of other people's models, as entity types of ours."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import regex
from numpy.typing import NDArray

from ....mixer.errors import Reason, RecollectError

_SAME = {
    "PERSON": "PER PERS NAME FULLNAME PERSONNAME FIRSTNAME MIDDLENAME LASTNAME GIVENNAME SURNAME "
    "FAMILYNAME GIVENNAME1 GIVENNAME2 LASTNAME1 LASTNAME2 LASTNAME3 PATIENT STAFF HCW DOCTOR "
    "NAMESTUDENT PRIVATEPERSON",
    "ORGANIZATION": "ORG ORGANISATION COMPANY COMPANYNAME CORPORATION INSTITUTION HOSP HOSPITAL "
    "VENDOR PATORG GROUP GRP",
    "LOCATION": "LOC GPE GPELOC PLACE FAC FACILITY CITY STATE COUNTY COUNTRY REGION GEO "
    "NEARBYGPSCOORDINATE GEOCOORD COORDINATE",
    "ADDRESS": "STREET STREETADDRESS SECONDARYADDRESS SECADDRESS BUILDING BUILDINGNUMBER "
    "BUILDINGNUM ZIP ZIPCODE POSTCODE POSTALCODE PRIVATEADDRESS",
    "EMAIL_ADDRESS": "EMAIL MAIL PRIVATEEMAIL",
    "PHONE_NUMBER": "PHONE TELEPHONE TELEPHONENUM TEL FAX PHONENUM PRIVATEPHONE",
    "USERNAME": "USER USERID LOGIN HANDLE",
    "URL": "URI LINK WEBSITE URLPERSONAL PRIVATEURL",
    "IP_ADDRESS": "IP IPV4 IPV6",
    "MAC_ADDRESS": "MAC",
    "DATE_TIME": "DATE TIME TIM DAY YEAR PRIVATEDATE",
    "DATE_OF_BIRTH": "DOB BIRTHDATE BIRTHDAY DATEOFBIRTH BOD",
    "DURATION": "",
    "AGE": "",
    "CREDIT_CARD": "CREDITCARDNUMBER CARD CARDNUMBER",
    "IBAN_CODE": "IBAN",
    "CRYPTO": "BITCOINADDRESS ETHEREUMADDRESS LITECOINADDRESS",
    "US_SSN": "SSN SOCIALNUM SOCIALNUMBER SOCIALSECURITYNUMBER",
    "US_DRIVER_LICENSE": "DRIVERLICENSE DRIVERLICENSENUM DRIVERSLICENSE DRIVERSLICENSENUM",
    "US_PASSPORT": "PASSPORT PASSPORTNUM PASSPORTNUMBER",
    "NATIONAL_ID": "TAXNUM TAXID IDCARD IDCARDNUM NATIONALIDNUM",
    "VEHICLE_PLATE": "VEHICLEVRM LICENSEPLATE LICENCEPLATE PLATE",
    "ACCOUNT_ID": "ACCOUNT ACCOUNTNUMBER ACCOUNTNUM ACCOUNTNAME BIC SWIFT",
    "CODE": "ID IDNUM IDENTIFIER OTHERPHI PASSWORD PASS PIN SECRET VEHICLEVIN PHONEIMEI IMEI "
    "MASKEDNUMBER CREDITCARDCVV USERAGENT MEDICALRECORD HEALTHPLAN DEVICE BIOID",
    "DEMOGRAPHIC": "NORP NATIONALITY RELIGION ETHNICITY GENDER SEX PROFESSION OCCUPATION JOB "
    "JOBTITLE JOBTYPE JOBAREA TITLE EYECOLOR",
    "QUANTITY": "MONEY AMOUNT PERCENT HEIGHT WEIGHT",
}
# What sets label that names nobody by itself.
_NOBODY = (
    "O OUT OUTSIDE NONE PAD X CLS SEP MISC MISCELLANEOUS PRODUCT WORKOFART ART LAW EVENT EVE "
    "LANGUAGE CARDINAL ORDINAL NUMBER ORDINALDIRECTION CURRENCY CURRENCYNAME CURRENCYCODE "
    "CURRENCYSYMBOL CREDITCARDISSUER PREFIX NAT NATURAL "
    "CREATIVEWORK"
)


def _plain(label: str) -> str:
    return regex.sub(r"[^\p{L}\p{N}]", "", label).upper()


_TABLE: dict[str, str | None] = {name: None for name in _NOBODY.split()}
for _type, _synonyms in _SAME.items():
    _TABLE |= dict.fromkeys([_plain(_type), *_synonyms.split()], _type)
_PREFIXED = regex.compile(r"(?P<prefix>[BIESLUM])[-_](?P<kind>.+)", regex.DOTALL)
_BEGINNING = frozenset("BSU")
_MOST_TOLD = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelTable:
    """How probabilities of a model's labels become those of entity types."""

    types: tuple[str, ...]
    totals: NDArray[np.float32]
    """Shape (labels, types): 1 where a label is of a type."""
    begins: NDArray[np.float32]
    """The same, but only for labels that begin a finding (B, S and U)."""


def label_table(
    labels: Sequence[str], overrides: Mapping[str, str | None], wanted: Collection[str]
) -> LabelTable:
    """The table for a model with these labels, in the order of its outputs.

    IOB, IOBES, BILOU, BMES and labels without prefixes are understood.

    Args:
        labels: of the model.
        overrides: entity type of a label, with or without its prefix; None for nobody's.
        wanted: entity types that the policy replaces; others count as nobody's.

    Raises:
        RecollectError: POLICY_INVALID for a label that nothing says the meaning of, an override
            that fits no label, and a model that can find nothing that is wanted.
    """
    given = {_plain(label): kind for label, kind in overrides.items()}
    meanings = _TABLE | given
    named = {label: _names(label) for label in labels}
    unknown = [label for label in labels if not meanings.keys() & set(named[label])]
    if unknown:
        raise _refused(
            f"nothing says what the labels {_listed(unknown)} of the model mean",
            "Name each under `labels` with an entity type, or with null for what is nobody's.",
        )
    unused = given.keys() - {name for names in named.values() for name in names}
    if unused:
        raise _refused(
            f"the model has no labels {_listed(sorted(unused))}; it has {_listed(labels)}",
            "Name labels as the model's config.json does.",
        )
    kinds = [next(meanings[n] for n in named[label] if n in meanings) for label in labels]
    types = tuple(sorted({kind for kind in kinds if kind in wanted and kind is not None}))
    if not types:
        raise _refused(
            "the model finds nothing that the policy replaces",
            "Add what it finds to `entities`, or say under `labels` what its labels are.",
        )
    totals = np.zeros((len(labels), len(types)), np.float32)
    begins = totals.copy()
    for place, (label, kind) in enumerate(zip(labels, kinds, strict=True)):
        if kind in types:
            totals[place, types.index(kind)] = 1.0
            prefix = _PREFIXED.fullmatch(label)
            if prefix and _plain(label) not in _TABLE and prefix["prefix"] in _BEGINNING:
                begins[place, types.index(kind)] = 1.0
    return LabelTable(types=types, totals=totals, begins=begins)


def _names(label: str) -> list[str]:
    """What the label may be called in a table: as it is, and without its prefix."""
    prefixed = _PREFIXED.fullmatch(label)
    return [_plain(label), *([_plain(prefixed["kind"])] if prefixed else [])]


def _listed(labels: Sequence[str]) -> str:
    told = ", ".join(label[:40] for label in labels[:_MOST_TOLD])
    more = len(labels) - _MOST_TOLD
    return f"{told} and {more} more" if more > 0 else told


def _refused(what: str, fix: str) -> RecollectError:
    return RecollectError(Reason.POLICY_INVALID, what, where="policy.verifier.labels", fix=fix)
