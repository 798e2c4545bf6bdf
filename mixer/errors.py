"""The one error tree: what went wrong, where, and what to do about it.

Every failure a user can cause or meet is a `RecollectError` with a `Reason`. Reasons are numbers
that are never reused, so a program may rely on them; the catalog gives each its gRPC status, its
exit code and the text that may leave the server. A message never holds example text or a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import partial

DOMAIN = "recollect"
"""The domain that `google.rpc.ErrorInfo` carries for our reasons."""


class Reason(IntEnum):
    """Why a request was refused; a value, once released, never means anything else."""

    INPUT_MALFORMED = 100
    INPUT_ENCODING = 101
    INPUT_EMPTY = 102
    INPUT_TOO_LARGE = 103
    INPUT_UNKNOWN_SPEAKER = 104
    INPUT_UNKNOWN_FORMAT = 105
    INPUT_NOT_FOUND = 106

    MIX_INVALID = 200
    MIX_SHARES = 201
    MIX_UNKNOWN_SOURCE = 202
    MIX_EMPTY_SOURCE = 203
    MIX_EXHAUSTED = 204
    MIX_PURPOSE = 205
    PLAN_UNKNOWN = 206
    PLAN_OUT_OF_RANGE = 207
    RANK_INVALID = 208
    RATIO_VIOLATED = 209
    PLAN_TAMPERED = 210
    LIMIT_VIOLATED = 211
    MEASUREMENT_INVALID = 212
    MEASURES_DIFFER = 213
    PLAN_AMBIGUOUS = 214

    DEIDENTIFICATION_FAILED = 300
    POLICY_INVALID = 301
    BELOW_K = 302

    STORAGE_FULL = 400
    STORAGE_CORRUPT = 401
    STORAGE_LOCKED = 402
    LEDGER_CORRUPT = 403
    SOURCE_UNKNOWN = 404
    SOURCE_CONFLICT = 405
    STORAGE_FAILED = 406

    TEACHER_MISSING = 500
    TEACHER_CHANGED = 501
    MODEL_UNUSABLE = 502
    TEMPLATE_REFUSED = 503

    SERVER_UNAVAILABLE = 600
    PORT_IN_USE = 601
    DEADLINE_PASSED = 602
    BATCH_DIFFERS = 603
    VERSION_UNKNOWN = 604
    INTERNAL = 605
    RUN_UNKNOWN = 606
    RUN_CONFLICT = 607
    FRAME_TOO_LARGE = 608
    SERVER_BUSY = 609
    FRAME_DAMAGED = 610

    CONFIG_INVALID = 700
    PACKAGE_MISSING = 701

    CREDENTIAL_MISSING = 800
    CREDENTIAL_UNKNOWN = 801
    CREDENTIAL_EXPIRED = 802
    CREDENTIAL_REVOKED = 803
    SCOPE_MISSING = 804
    TLS_MISMATCH = 805
    CERTIFICATE_REFUSED = 806


@dataclass(frozen=True, kw_only=True, slots=True)
class Consequence:
    """What a reason means to the outside."""

    status: str
    """Name of the gRPC status code."""
    exit_code: int
    """Exit code of the command line, after BSD sysexits.h where it has a fitting one."""
    public: str
    """One sentence for documentation and for callers who may not see the message."""
    advice: str
    """What to do, where the error itself says nothing better."""


def _means(status: str, exit_code: int, public: str, advice: str) -> Consequence:
    return Consequence(status=status, exit_code=exit_code, public=public, advice=advice)


CATALOG: Mapping[Reason, Consequence] = {
    Reason.INPUT_MALFORMED: _means(
        "INVALID_ARGUMENT",
        65,
        "A row of the input cannot be parsed.",
        "Correct the row, or pass bad rows over with --skip-bad-rows.",
    ),
    Reason.INPUT_ENCODING: _means(
        "INVALID_ARGUMENT", 65, "The input is not valid UTF-8.", "Convert the file to UTF-8."
    ),
    Reason.INPUT_EMPTY: _means(
        "INVALID_ARGUMENT",
        65,
        "The input holds no rows.",
        "Check that it is the file you meant and that it was written to its end.",
    ),
    Reason.INPUT_TOO_LARGE: _means(
        "INVALID_ARGUMENT", 65, "A row exceeds the size limit.", "Split it into smaller ones."
    ),
    Reason.INPUT_UNKNOWN_SPEAKER: _means(
        "INVALID_ARGUMENT",
        65,
        "A message has a speaker that no rule maps.",
        "Map the speaker with --mapping.",
    ),
    Reason.INPUT_UNKNOWN_FORMAT: _means(
        "INVALID_ARGUMENT",
        65,
        "The columns match no known layout.",
        "Name the columns with --mapping.",
    ),
    Reason.INPUT_NOT_FOUND: _means(
        "NOT_FOUND", 66, "The input cannot be opened.", "Check the path and its permissions."
    ),
    Reason.MIX_INVALID: _means(
        "INVALID_ARGUMENT",
        65,
        "The mix breaks its schema.",
        "Compare the mix with docs/how-to/mix.md.",
    ),
    Reason.MIX_SHARES: _means(
        "INVALID_ARGUMENT",
        65,
        "The shares of a mix must sum to exactly 1.",
        "Change the shares until they sum to exactly 1.",
    ),
    Reason.MIX_UNKNOWN_SOURCE: _means(
        "FAILED_PRECONDITION",
        65,
        "The mix names a source that the store does not hold.",
        "`recollect sources list` names the sources.",
    ),
    Reason.MIX_EMPTY_SOURCE: _means(
        "FAILED_PRECONDITION",
        65,
        "The mix gives a share to a source without examples.",
        "Ingest examples into it, or leave it out of the mix.",
    ),
    Reason.MIX_EXHAUSTED: _means(
        "FAILED_PRECONDITION",
        65,
        "A source runs out before the plan ends.",
        "Take fewer steps, a smaller share, more examples or more epochs.",
    ),
    Reason.MIX_PURPOSE: _means(
        "FAILED_PRECONDITION",
        65,
        "A mix may only use sources of its own purpose.",
        "Use sources of the purpose that the mix has.",
    ),
    Reason.PLAN_UNKNOWN: _means(
        "NOT_FOUND", 66, "No such plan is in the ledger.", "Seal the mix with `recollect mix seal`."
    ),
    Reason.PLAN_AMBIGUOUS: _means(
        "FAILED_PRECONDITION",
        65,
        "Several plans have an id that begins so.",
        "Give more digits of the id; `recollect mix list` lists the plans.",
    ),
    Reason.PLAN_OUT_OF_RANGE: _means(
        "OUT_OF_RANGE",
        64,
        "The plan has no such step.",
        "Ask for a step or position that the plan has.",
    ),
    Reason.RANK_INVALID: _means(
        "INVALID_ARGUMENT",
        64,
        "The rank must be in 0 … world size - 1.",
        "Number the ranks from 0 and give all of them the same world size.",
    ),
    Reason.RATIO_VIOLATED: _means(
        "DATA_LOSS",
        70,
        "A batch is not what the plan prescribes.",
        "Stop the run; `recollect audit run` says where it departs from its plan.",
    ),
    Reason.PLAN_TAMPERED: _means(
        "DATA_LOSS",
        70,
        "A plan does not match its plan id.",
        "Fetch the plan again from the service that sealed it.",
    ),
    Reason.LIMIT_VIOLATED: _means(
        "FAILED_PRECONDITION",
        65,
        "The shares leave the floors or ceilings of the ratio policy.",
        "Change the shares, or ask the owner of the policy.",
    ),
    Reason.MEASURES_DIFFER: _means(
        "FAILED_PRECONDITION",
        70,
        "The lengths of a source's examples are missing, or are not those that the plan was "
        "sealed with.",
        "Fetch the measures of the plan's sources from the service that sealed it.",
    ),
    Reason.MEASUREMENT_INVALID: _means(
        "INVALID_ARGUMENT",
        65,
        "A measurement cannot be used to propose shares.",
        "Report finite numbers for known sources or roles, in the order of the steps.",
    ),
    Reason.DEIDENTIFICATION_FAILED: _means(
        "INTERNAL",
        70,
        "De-identification did not finish; the example was quarantined.",
        "The example stays out; shorten or correct it and ingest it again.",
    ),
    Reason.POLICY_INVALID: _means(
        "INVALID_ARGUMENT",
        78,
        "The policy breaks its schema.",
        "Compare the policy with docs/reference/configuration.md.",
    ),
    Reason.BELOW_K: _means(
        "FAILED_PRECONDITION",
        65,
        "Too few subjects are alike in what is left of them; their rows are held.",
        "Add rows of more subjects, lower k, or let the policy replace more.",
    ),
    Reason.STORAGE_FULL: _means(
        "RESOURCE_EXHAUSTED",
        74,
        "The disk is full; nothing was changed.",
        "Free some space and repeat the command.",
    ),
    Reason.STORAGE_CORRUPT: _means(
        "DATA_LOSS",
        74,
        "A segment does not match its digest.",
        "Restore the file from a backup; `recollect audit verify` finds all damage.",
    ),
    Reason.STORAGE_LOCKED: _means(
        "FAILED_PRECONDITION",
        75,
        "Another process serves this data folder.",
        "Wait for the other process, or stop it.",
    ),
    Reason.LEDGER_CORRUPT: _means(
        "DATA_LOSS",
        74,
        "The ledger's chain of digests is broken.",
        "Restore the ledger from a backup.",
    ),
    Reason.SOURCE_UNKNOWN: _means(
        "NOT_FOUND",
        66,
        "No such source is in the store.",
        "`recollect sources list` names the sources.",
    ),
    Reason.SOURCE_CONFLICT: _means(
        "FAILED_PRECONDITION",
        65,
        "The source exists with other properties.",
        "Use another name, or the properties that the source has.",
    ),
    Reason.STORAGE_FAILED: _means(
        "INTERNAL",
        74,
        "The disk refused to read or write.",
        "Check the disk and its permissions, then repeat the command.",
    ),
    Reason.TEACHER_MISSING: _means(
        "FAILED_PRECONDITION",
        78,
        "The teacher has not annotated this plan.",
        "Let the teacher annotate the plan first: `recollect teacher annotate`.",
    ),
    Reason.TEACHER_CHANGED: _means(
        "FAILED_PRECONDITION",
        74,
        "The teacher's weights do not match their pinned digest.",
        "Restore the weights, or pin the new digest.",
    ),
    Reason.MODEL_UNUSABLE: _means(
        "FAILED_PRECONDITION",
        66,
        "The model folder cannot be loaded.",
        "Name a folder with config.json, model.safetensors and tokenizer.json.",
    ),
    Reason.TEMPLATE_REFUSED: _means(
        "FAILED_PRECONDITION",
        65,
        "The model's chat template does not take an example.",
        "Leave the example out, or serve a model whose chat template takes it.",
    ),
    Reason.SERVER_UNAVAILABLE: _means(
        "UNAVAILABLE",
        69,
        "The service cannot be reached.",
        "Start it with `recollect serve`, or name its address with --server.",
    ),
    Reason.PORT_IN_USE: _means(
        "FAILED_PRECONDITION",
        73,
        "The address is already in use.",
        "Stop the other process, or choose another address.",
    ),
    Reason.DEADLINE_PASSED: _means(
        "DEADLINE_EXCEEDED", 75, "No answer came within the deadline.", "Try again."
    ),
    Reason.BATCH_DIFFERS: _means(
        "DATA_LOSS",
        70,
        "A batch does not match its digest.",
        "Stop the run and compare the versions of service and trainer.",
    ),
    Reason.VERSION_UNKNOWN: _means(
        "FAILED_PRECONDITION",
        65,
        "The data was written by a newer version.",
        "Use the version that wrote it, or a newer one.",
    ),
    Reason.INTERNAL: _means(
        "INTERNAL",
        70,
        "The service failed; its log has the details.",
        "Look into the service's log, and report it.",
    ),
    Reason.RUN_UNKNOWN: _means(
        "NOT_FOUND",
        66,
        "No such run is in the ledger.",
        "`recollect audit log --kind run_started` lists the runs.",
    ),
    Reason.RUN_CONFLICT: _means(
        "FAILED_PRECONDITION",
        65,
        "The run exists with other properties.",
        "Choose another run id, or use the plan and settings that the run began with.",
    ),
    Reason.FRAME_DAMAGED: _means(
        "DATA_LOSS",
        74,
        "A message changed on its way.",
        "Look for a faulty proxy or memory between service and trainer, or use TLS.",
    ),
    Reason.FRAME_TOO_LARGE: _means(
        "RESOURCE_EXHAUSTED",
        65,
        "A batch does not fit into one message.",
        "Use a smaller batch, shorter rows or more ranks.",
    ),
    Reason.CONFIG_INVALID: _means(
        "INVALID_ARGUMENT",
        78,
        "The configuration breaks its schema.",
        "`recollect config schema` prints the schema, `--help` the options.",
    ),
    Reason.PACKAGE_MISSING: _means(
        "FAILED_PRECONDITION",
        78,
        "An optional package is missing.",
        'pip install "recollect[server]" to serve, "recollect[trainer]" to train.',
    ),
    Reason.SERVER_BUSY: _means(
        "UNAVAILABLE",
        75,
        "The service has no room for this call at the moment.",
        "Try again in a moment.",
    ),
    Reason.CREDENTIAL_MISSING: _means(
        "UNAUTHENTICATED",
        77,
        "The call carries no credential.",
        "Name a file that holds a token with --token-file (RECOLLECT_TOKEN_FILE), or a client "
        "certificate with --certificate and --key.",
    ),
    Reason.CREDENTIAL_UNKNOWN: _means(
        "UNAUTHENTICATED",
        77,
        "The credential is not one of this service's.",
        "Ask the service's owner for one: `recollect access token create`.",
    ),
    Reason.CREDENTIAL_EXPIRED: _means(
        "UNAUTHENTICATED",
        77,
        "The credential has expired.",
        "Ask the service's owner for a new one: `recollect access token create`.",
    ),
    Reason.CREDENTIAL_REVOKED: _means(
        "UNAUTHENTICATED",
        77,
        "The credential was revoked.",
        "Ask the service's owner for a new one: `recollect access token create`.",
    ),
    Reason.SCOPE_MISSING: _means(
        "PERMISSION_DENIED",
        77,
        "The credential does not allow this call.",
        "Use a credential with one of the scopes named, as listed in docs/how-to/secure.md.",
    ),
    Reason.TLS_MISMATCH: _means(
        "UNAVAILABLE",
        76,
        "One side speaks TLS and the other does not.",
        "Let both speak TLS, or both listen and ask in the clear.",
    ),
    Reason.CERTIFICATE_REFUSED: _means(
        "UNAVAILABLE",
        76,
        "A certificate was not accepted.",
        "Use a certificate that the other side's CA has signed, for the name that it is used for.",
    ),
}


class RecollectError(Exception):
    """A refusal with its reason.

    Args:
        reason: what kind of failure this is.
        message: what is wrong, with the offending value where it is not personal data.
        where: the place: a field path, `file:line:column`, a source, a plan id.
        fix: what the reader can do about it; the catalog's advice for the reason if left out.
    """

    def __init__(self, reason: Reason, message: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.where = where
        self.fix = fix or CATALOG[reason].advice
        # Beside the message, where a traceback is all that somebody sees of it.
        self.add_note(f"reason: {reason.name} (docs/reference/errors.md)")

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        sentence = self.message if self.message.endswith((".", "!", "?")) else f"{self.message}."
        advice = f" {self.fix}" if self.fix else ""
        return f"{place}{sentence}{advice}"

    def __reduce__(self) -> tuple[partial[RecollectError], tuple[Reason, str]]:
        # An error that does not come back from another process takes a pool of them down with it.
        again = partial(type(self), where=self.where, fix=self.fix)
        return again, (self.reason, self.message)

    @property
    def exit_code(self) -> int:
        """The command line's exit code."""
        return CATALOG[self.reason].exit_code

    def to_metadata(self) -> dict[str, str]:
        """The metadata of the `google.rpc.ErrorInfo` that carries this error over the wire."""
        return {"message": self.message, "where": self.where, "fix": self.fix}

    @classmethod
    def from_metadata(cls, reason: str, metadata: Mapping[str, str]) -> RecollectError:
        """The error that `to_metadata` described; an unknown reason becomes `INTERNAL`."""
        known = Reason[reason] if reason in Reason.__members__ else Reason.INTERNAL
        return cls(
            known,
            metadata.get("message", reason),
            where=metadata.get("where", ""),
            fix=metadata.get("fix", ""),
        )
