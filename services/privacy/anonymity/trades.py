"""What a person is, told less exactly: a trade by its major group of ISCO-08, the rest by kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

from ..vocabulary import (
    CONDITIONS,
    DEM_STATUSES,
    ETHNICITIES,
    NATIONALITIES,
    OCCUPATIONS,
    RELIGIONS,
    words,
)

TRADES: Mapping[str, tuple[str, ...]] = {
    "manager": words("""
chief executive, chairman, managing director, director, manager, project manager, sales manager,
HR manager, school principal, headmaster, mayor, politician, member of parliament, minister,
governor, senator, congressman, ambassador, diplomat, consul, civil servant, businessman,
businesswoman, film director, producer, publisher
"""),
    "professional": words("""
lawyer, teacher, nurse, doctor, engineer, accountant, journalist, judge, prosecutor, actor, actress,
singer, painter, writer, poet, novelist, librarian, architect, dentist, surgeon, psychiatrist,
psychologist, pharmacist, veterinarian, scientist, physicist, chemist, biologist, mathematician,
economist, historian, philosopher, programmer, software engineer, data scientist, designer,
musician, pianist, violinist, conductor, dancer, consultant, social worker, priest, imam, rabbi,
monk, nun, midwife, physiotherapist, notary, solicitor, barrister, magistrate, editor,
editor-in-chief, columnist, news anchor, translator, interpreter, auditor, tax adviser, data
analyst, system administrator, web developer, graphic designer, comedian, composer, sculptor,
anthropologist, geologist, astronomer, statistician, radiologist, cardiologist, paediatrician, GP,
optician, dietitian, speech therapist, kindergarten teacher, maths teacher, professor, lecturer,
researcher, human rights defender, activist, trade unionist, banker
"""),
    "technician": words("""
photographer, footballer, cyclist, boxer, coach, estate agent, pilot, paramedic, bailiff, customs
officer, border guard, detective, real estate broker, insurance agent, stockbroker, investor, tennis
player, basketball player, goalkeeper, jockey, referee, racing driver, captain
"""),
    "clerk": words("""
clerk, cashier, secretary, receptionist, clerk of court, office assistant, travel agent, postman,
courier
"""),
    "service worker": words("""
police officer, chef, cook, waiter, waitress, shopkeeper, salesman, housekeeper, nanny, flight
attendant, security guard, firefighter, nursing assistant, childminder, tour guide, bartender,
butler, car dealer, fashion model, caretaker, hairdresser, barber
"""),
    "farm worker": words("farmer, fisherman, gardener"),
    "craft worker": words("""
electrician, plumber, carpenter, mechanic, welder, bricklayer, tailor, baker, butcher
"""),
    "machine operator": words("""
driver, taxi driver, lorry driver, bus driver, train driver, sailor, miner, factory worker
"""),
    "labourer": words("cleaner, warehouse worker"),
    "soldier": words("""
soldier, gendarme, lieutenant, sergeant, major, general, admiral, retired colonel
"""),
    "no trade": words("""
student, apprentice, trainee, intern, pensioner, refugee, asylum seeker, prisoner
"""),
}
"""Group → trades; those who are told of by what they do instead of a trade come last."""
_KINDS = {
    "nationality": NATIONALITIES,
    "origin": ETHNICITIES,
    "faith": RELIGIONS,
    "illness": CONDITIONS,
    "status": DEM_STATUSES,
}
UNKNOWN = ""
"""The group of what is in no list."""


@cache
def _groups() -> Mapping[str, str]:
    groups: dict[str, str] = {}
    for kinds in (TRADES, _KINDS):
        for group, members in kinds.items():
            for member in members:
                groups.setdefault(member.lower(), group)
    return groups


def ungrouped() -> list[str]:
    """Trades of the vocabulary that are in no group."""
    return [trade for trade in OCCUPATIONS if trade.lower() not in _groups()]


def group_of(value: str) -> str:
    """The group of what somebody is, as of the longest end of it that is in a list."""
    parts = value.lower().split()
    for ending in _endings(parts):
        for spelled in (ending, ending.removesuffix("s")):
            if spelled in _groups():
                return _groups()[spelled]
    return UNKNOWN


def _endings(parts: list[str]) -> Iterable[str]:
    return (" ".join(parts[first:]) for first in range(len(parts)))
