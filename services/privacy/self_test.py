"""The self-test: what must hold of a detector before it may read a text; all texts are invented.

It looks for what fails in silence: a recognizer that is not there, is never asked or finds nothing,
context that boosts nothing, a time-out that is swallowed, and a look-up over the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ...mixer.errors import Reason, RecollectError
from .plainest import PLAINEST
from .policy import Policy
from .quasi_patterns import QuasiPatternRecognizer
from .reading import Reader
from .sockets import sockets_opened
from .tagging import TaggerRecognizer

# What Presidio lifts a weak finding to where a context word stands before it.
_BOOSTED = 0.4
STOCK: Mapping[str, str] = {
    "CreditCardRecognizer": "CREDIT_CARD",
    "CryptoRecognizer": "CRYPTO",
    "DateRecognizer": "DATE_TIME",
    "EmailRecognizer": "EMAIL_ADDRESS",
    "IpRecognizer": "IP_ADDRESS",
    "MacAddressRecognizer": "MAC_ADDRESS",
    "MedicalLicenseRecognizer": "MEDICAL_LICENSE",
    "NhsRecognizer": "UK_NHS",
    "SealedIbanRecognizer": "IBAN_CODE",
    "UsBankRecognizer": "US_BANK_NUMBER",
    "UsItinRecognizer": "US_ITIN",
    "UsLicenseRecognizer": "US_DRIVER_LICENSE",
    "UsPassportRecognizer": "US_PASSPORT",
    "UsSsnRecognizer": "US_SSN",
    "UuidRecognizer": "UUID",
}
"""Recognizers of Presidio's that recall was measured with: name → what each finds.

Another one may find the same in its plainest form, so that nobody would miss them.
"""
_ABOUT_SOMEBODY = "Mr J. Smith, a plumber, was dismissed on 3 May 1999 and paid 5,000 euros."
_SOMEBODY = "The applicant, Rosalind Achterberg, lives in Istanbul."


def prove(
    policy: Policy,
    recognizers: Sequence[Any],
    reader: Reader,
    quasi: QuasiPatternRecognizer | None,
    *,
    is_sealed: Callable[[Any], bool],
) -> None:
    """Refuse to work where a part that fails in silence is broken.

    Args:
        policy: whose entity types must be found.
        recognizers: what the reader was given.
        reader: that asks them.
        quasi: the patterns of the quasi stage, unless it was left out.
        is_sealed: whether every time-out of a recognizer reaches its caller.

    Raises:
        RecollectError: DEIDENTIFICATION_FAILED naming what is broken.
    """
    with sockets_opened() as opened, typed("a recognizer failed"):
        _prove_context(policy, reader)
        if not all(map(is_sealed, recognizers)):
            raise _broken("a pattern is not sealed against time-outs")
        _prove_loaded(policy, recognizers, reader)
        blind = _blind(policy, recognizers, reader)
        if blind:
            raise _broken(f"the recognizers miss the plainest {', '.join(blind)}")
        _prove_stages(policy, recognizers, quasi)
    if opened:
        raise _broken(f"analysis opens a socket ({opened[0]})")


def _prove_context(policy: Policy, reader: Reader) -> None:
    # Weak by itself (0.05); only a context word that no pattern of ours asks for lifts it.
    results = reader.read("the travel document 918273645")
    score = max((r.score for r in results if r.entity_type == "US_PASSPORT"), default=0.0)
    if "US_PASSPORT" in policy.entities and score < _BOOSTED:
        raise _broken("context words do not raise scores")


def _prove_loaded(policy: Policy, recognizers: Sequence[Any], reader: Reader) -> None:
    names = {recognizer.name for recognizer in recognizers}
    missing = sorted(n for n, e in STOCK.items() if e in policy.entities and n not in names)
    if missing:
        raise _broken(f"{', '.join(missing)} is not loaded")
    idle = names - set(reader.names)
    if idle:
        raise _broken(f"{', '.join(sorted(idle))} is loaded and never asked")
    found = {entity for r in recognizers for entity in r.supported_entities}
    orphans = sorted(policy.entities - found - {"KNOWN_VALUE"})
    if orphans:
        raise _broken(f"no recognizer finds {', '.join(orphans)}")


def _blind(policy: Policy, recognizers: Sequence[Any], reader: Reader) -> list[str]:
    """Entity types whose plainest text nobody finds."""
    taggers = [r for r in recognizers if isinstance(r, TaggerRecognizer)]
    missed = []
    for entity in sorted(policy.entities & PLAINEST.keys()):
        text = PLAINEST[entity]
        found = {result.entity_type for result in reader.read(text)}
        # However high the policy's own threshold.
        found |= {kind for tagger in taggers for kind in tagger.plainly(text)}
        if entity not in found:
            missed.append(entity)
    return missed


def _prove_stages(
    policy: Policy, recognizers: Sequence[Any], quasi: QuasiPatternRecognizer | None
) -> None:
    """Stages that find what others find as well in the plainest texts."""
    for tagger in recognizers:
        if isinstance(tagger, TaggerRecognizer) and "PERSON" not in tagger.plainly(_SOMEBODY):
            raise _broken("the tagger finds nobody")
    if quasi is not None and not quasi.analyze(_ABOUT_SOMEBODY, []):
        raise _broken("the patterns of the quasi stage find nothing")


@contextmanager
def typed(what: str) -> Iterator[None]:
    """Turn any failure into one of the self-test; only its kind is told."""
    try:
        yield
    except RecollectError:
        raise
    except Exception as error:
        raise _broken(f"{what} with {type(error).__name__}") from None


def _broken(what: str) -> RecollectError:
    return RecollectError(
        Reason.DEIDENTIFICATION_FAILED,
        f"De-identification failed its self-test: {what}.",
        fix="Install the versions of presidio-analyzer and spacy that recollect[server] names.",
    )
