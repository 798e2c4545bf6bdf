"""The kinds of entries: everything that is ever recorded, whichever room records it."""

from __future__ import annotations

from enum import StrEnum


class Kind(StrEnum):
    """What happened; an entry keeps it as text."""

    CREDENTIAL_ISSUED = "credential_issued"
    CREDENTIAL_REVOKED = "credential_revoked"
    SOURCE_REGISTERED = "source_registered"
    SEGMENTS_COMMITTED = "segments_committed"
    INGEST_FINISHED = "ingest_finished"
    ROWS_QUARANTINED = "rows_quarantined"
    QUARANTINE_RELEASED = "quarantine_released"
    QUARANTINE_DROPPED = "quarantine_dropped"
    RECORDS_DEIDENTIFIED = "records_deidentified"
    RESIDUAL_AUDITED = "residual_audited"
    REHEARSED = "rehearsed"
    PLAN_SEALED = "plan_sealed"
    ANNOTATED = "annotated"
    RUN_STARTED = "run_started"
    BATCH_ACKNOWLEDGED = "batch_acknowledged"
    RUN_FINISHED = "run_finished"
