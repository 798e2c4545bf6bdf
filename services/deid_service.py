"""DeidService: records in over the wire, the same records with surrogates out; nothing is kept.

Raw text lives in request messages and in the de-identifier, never in a log, an error, a file or the
ledger. The ledger does learn that a call was made, by whom, under which policy and of how many
records: who holds the text of the one and the stand-in of the other may try the names of others
under the tenant's key, and an auditor has to see who did, and how often.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from threading import Event

from ..mixer.errors import Reason, RecollectError
from ..v1 import deid_pb2 as wire
from ..v1.deid_pb2_grpc import DeidServiceServicer
from .crew import Crew
from .deid_engines import Engines
from .deid_limits import MOST_RECORDS
from .deid_work import Tally, work_on
from .ledger import JSON, Kind, Ledger
from .privacy import Deidentifier, Policy
from .privacy.versions import detector_versions
from .status import Context, translated
from .threads import finished

NUM_THREADS = 2
"""Pieces of calls that are worked on at a time."""
MOST_CALLS = 32
"""Calls of a tenant that are open at a time; each has at most one piece in line, so that none is
refused once it was let in."""
IDLE_SECONDS = 300.0
"""How long a call may send nothing: there are few places, and each holds one."""


class DeidServicer(DeidServiceServicer):
    """Serves one tenant with its key.

    Args:
        deidentifier: what the tenant ingests with, proved.
        key: of the surrogates, the one that the de-identifier has.
        ledger: of the tenant.
        idle_seconds: how long a call may send nothing while nothing of it is worked on.
    """

    def __init__(
        self,
        *,
        deidentifier: Deidentifier,
        key: bytes,
        ledger: Ledger,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._idle_seconds = idle_seconds
        self._engines = Engines(deidentifier, key)
        self._ledger = ledger
        self._pieces = Crew("deidentify", num_threads=NUM_THREADS, most_waiting=MOST_CALLS)
        self._num_open = 0
        self.crews = (self._pieces,)

    @translated
    async def ListPolicies(
        self, request: wire.ListPoliciesRequest, context: Context
    ) -> wire.ListPoliciesResponse:
        """Lists the shipped policies, and the one that the service ingests with."""
        policies = await finished(self._engines.policies)
        return wire.ListPoliciesResponse(
            policies=[_summary(policy, is_own=is_own) for policy, is_own in policies]
        )

    @translated
    async def Deidentify(
        self,
        request_iterator: AsyncIterator[wire.DeidentifyRequest],
        context: Context,
    ) -> AsyncIterator[wire.DeidentifyResponse]:
        """De-identifies a stream of records, a piece at a time, and answers in their order."""
        first = await self._next(request_iterator)
        if first is None or first.WhichOneof("part") != "header":
            raise RecollectError(
                Reason.INPUT_MALFORMED,
                "a de-identification must begin with its header.",
                fix="Send a DeidentifyHeader first.",
            )
        header = first.header
        with self._place():
            engine = await self._pieces.run(self._engines.of, header)
            yield wire.DeidentifyResponse(opening=self._opening(engine.policy))
            tally = Tally()
            given_up = Event()
            try:
                while (request := await self._next(request_iterator)) is not None:
                    records = _records_of(request)
                    done = 0
                    while done < len(records):
                        results = await self._pieces.run_until(
                            given_up.set,
                            work_on,
                            engine,
                            records,
                            done,
                            with_spans=header.with_spans,
                            tally=tally,
                            is_given_up=given_up.is_set,
                        )
                        done += len(results.results)
                        yield wire.DeidentifyResponse(results=results)
            except BaseException:
                # The call ends with its own error; a disk that fails is told of by the next entry.
                with suppress(RecollectError):
                    await finished(self._record, header, engine.policy, tally, is_whole=False)
                raise
            await finished(self._record, header, engine.policy, tally, is_whole=True)
            yield wire.DeidentifyResponse(summary=tally.summary())

    async def _next(
        self, requests: AsyncIterator[wire.DeidentifyRequest]
    ) -> wire.DeidentifyRequest | None:
        """The next request, or None after the last; a call that sends none for long is ended."""
        try:
            async with asyncio.timeout(self._idle_seconds):
                return await anext(requests, None)
        except TimeoutError:
            raise RecollectError(
                Reason.DEADLINE_PASSED,
                f"the call has sent nothing for {self._idle_seconds:g} seconds.",
                fix="Open a call once there is something to send.",
            ) from None

    @contextmanager
    def _place(self) -> Iterator[None]:
        """Room for one more call, for as long as it lasts."""
        if self._num_open >= MOST_CALLS:
            raise RecollectError(
                Reason.SERVER_BUSY, f"{MOST_CALLS} de-identifications are under way already."
            )
        self._num_open += 1
        try:
            yield
        finally:
            self._num_open -= 1

    def _opening(self, policy: Policy) -> wire.DeidentifyOpening:
        return wire.DeidentifyOpening(
            policy=_version(policy),
            detectors=[
                wire.DetectorVersion(name=name, version=version)
                for name, version in detector_versions().items()
            ],
            key_id=self._engines.key_id,
        )

    def _record(
        self, header: wire.DeidentifyHeader, policy: Policy, tally: Tally, *, is_whole: bool
    ) -> None:
        if not tally.num_records:
            return
        # Name and version of a policy that came with a call are the caller's own words.
        is_sent = header.WhichOneof("policy") == "policy_yaml"
        body: dict[str, JSON] = {
            "policy": "" if is_sent else f"{policy.name} {policy.version}",
            "policy_fingerprint": policy.fingerprint,
            "num_records": tally.num_records,
            "num_characters": tally.num_characters,
            "refused": dict(sorted(tally.refused.items())),
            "is_whole": is_whole,
        }
        self._ledger.append(Kind.RECORDS_DEIDENTIFIED, body, actor="deidentify")


def _records_of(request: wire.DeidentifyRequest) -> list[wire.RawRecord]:
    if request.WhichOneof("part") != "records":
        raise RecollectError(
            Reason.INPUT_MALFORMED,
            "a request holds no records.",
            fix="Send the header once, then groups of records.",
        )
    if len(request.records.records) > MOST_RECORDS:
        raise RecollectError(
            Reason.INPUT_TOO_LARGE,
            f"a request holds {len(request.records.records):,} records; "
            f"at most {MOST_RECORDS:,} fit.",
            where="records",
            fix="Send smaller groups.",
        )
    return list(request.records.records)


def _version(policy: Policy) -> wire.PolicyVersion:
    return wire.PolicyVersion(
        name=policy.name, version=policy.version, fingerprint=policy.fingerprint
    )


def _summary(policy: Policy, *, is_own: bool) -> wire.PolicySummary:
    return wire.PolicySummary(
        policy=_version(policy),
        entity_types=sorted(policy.entities),
        operators=sorted({str(policy.operator(entity)) for entity in policy.entities}),
        tagger_threshold=policy.tagger_threshold,
        is_own=is_own,
    )
