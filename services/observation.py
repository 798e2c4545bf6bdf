"""Observation: what a configuration says of the log, the metrics and the traces of a service."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from ..mixer.errors import Reason, RecollectError
from ..v1.tracing import export_over_otlp
from .config import Settings
from .observing import Metrics, exposed, logging_as

SERVICE = "recollect"
"""What the service calls itself in traces, unless OTEL_SERVICE_NAME says otherwise."""


@contextmanager
def observed(settings: Settings, metrics: Metrics) -> Iterator[str]:
    """Logs, exports traces and tells metrics; gives the address of the metrics, if they have one.

    Raises:
        RecollectError: CONFIG_INVALID, PORT_IN_USE, PACKAGE_MISSING.
    """
    with ExitStack() as stack:
        stack.enter_context(logging_as(settings.logs.format, settings.logs.level))
        if settings.traces.exporter == "otlp":
            stack.callback(_exporting())
        where = settings.metrics.address
        if where is None:
            yield ""
            return
        remote = settings.metrics.allow_remote
        yield stack.enter_context(exposed(metrics.registry, where, allow_remote=remote))


def _exporting() -> Callable[[], None]:
    try:
        return export_over_otlp(SERVICE)
    except ImportError:
        raise RecollectError(
            Reason.PACKAGE_MISSING,
            "traces need the SDK of OpenTelemetry and its exporter.",
            where="traces.exporter",
            fix='Install them: pip install "recollect[observe]".',
        ) from None
