"""Traces: a call and what it leads to, on both sides of the wire, where OpenTelemetry is installed.

A span travels as the `traceparent` of W3C Trace Context in the metadata of a call, and nothing else
does. Spans are linked by hand: what reads a stream yields to strangers while its span is open, so
it cannot be the current one of a thread. Unlike the stubs beside it, this module is written by
hand.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from enum import StrEnum
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry import trace
    from opentelemetry.context import Context

SCOPE = "recollect"
"""The instrumentation scope of every span."""

Metadata = tuple[tuple[str, str], ...]
"""What a call carries beside its request."""


class Side(StrEnum):
    """On which side of the wire a span is."""

    CLIENT = "CLIENT"
    SERVER = "SERVER"
    INTERNAL = "INTERNAL"


class Span:
    """A piece of work with a beginning and an end; nothing at all where nobody collects traces."""

    __slots__ = ("_span",)

    def __init__(self, span: trace.Span | None = None) -> None:
        self._span = span

    @property
    def trace_id(self) -> str:
        """The trace that it belongs to, in hex; empty if there is none."""
        return "" if self._span is None else f"{self._span.get_span_context().trace_id:032x}"

    @property
    def metadata(self) -> Metadata:
        """What a call carries so that its other side belongs to this span."""
        if self._span is None:
            return ()
        carrier: dict[str, str] = {}
        _propagator().inject(carrier, self.context)
        return tuple(carrier.items())

    @property
    def context(self) -> Context | None:
        """What makes this span the parent of another one."""
        if self._span is None:
            return None
        from opentelemetry import trace

        return trace.set_span_in_context(self._span)

    def part(self, name: str) -> Span:
        """Begins a span for a part of this work; nothing where this is nothing."""
        return self if self._span is None else begin(name, parent=self.context)

    def note(self, attributes: Mapping[str, int | str]) -> None:
        """Adds what was learnt meanwhile; never text of examples, and nobody's error messages."""
        if self._span is not None:
            self._span.set_attributes(attributes)

    def end(self, failure: str = "") -> None:
        """Ends it; what is told later is not heard.

        Args:
            failure: the reason why it failed, from the catalog of errors, if it did.
        """
        if self._span is None or not self._span.is_recording():
            return
        if failure:
            from opentelemetry.trace import Status, StatusCode

            self._span.set_status(Status(StatusCode.ERROR, failure))
        self._span.end()


NOTHING = Span()
_followed: ContextVar[Span] = ContextVar("span", default=NOTHING)


def begin(
    name: str,
    side: Side = Side.INTERNAL,
    *,
    parent: Context | None = None,
    attributes: Mapping[str, int | str] | None = None,
) -> Span:
    """Begins a span, which whoever begins it has to end.

    Args:
        name: the kind of work; the same for all work of that kind.
        side: on which side of the wire it is done.
        parent: what it belongs to; whatever the current thread does, if left out.
        attributes: what distinguishes it from others of the same name.
    """
    if not is_installed():
        return NOTHING
    from opentelemetry import trace

    span = trace.get_tracer(SCOPE).start_span(
        name, context=parent, kind=trace.SpanKind[side], attributes=attributes
    )
    # Where no SDK collects, a span is only what came over the wire, or nothing.
    return Span(span) if span.get_span_context().is_valid else NOTHING


def parent_in(metadata: Iterable[tuple[str, str | bytes]]) -> Context | None:
    """What a call belongs to by its metadata; None if it does not say."""
    if not is_installed():
        return None
    carrier = {key: value for key, value in metadata if isinstance(value, str)}
    from opentelemetry.context import Context

    # An empty context: what a call belongs to is not for the thread to say that answers it.
    parent: Context = _propagator().extract(carrier, Context())
    return parent


def follow(span: Span) -> None:
    """From here on the current task works for this span."""
    _followed.set(span)


def followed() -> Span:
    """The span that the current task works for."""
    return _followed.get()


@functools.cache
def is_installed() -> bool:
    """Whether there is an OpenTelemetry API to speak to."""
    try:
        return find_spec("opentelemetry.trace") is not None
    except (ImportError, ValueError):
        # The name is taken by something else, or was barred.
        return False


def export_over_otlp(service: str) -> Callable[[], None]:
    """Sends the spans of this process over OTLP/gRPC to where OTEL_EXPORTER_OTLP_ENDPOINT says.

    Args:
        service: `service.name` of this process, unless OTEL_SERVICE_NAME says otherwise.

    Returns:
        What sends the rest and stops.

    Raises:
        ImportError: the SDK or its exporter is not installed.
    """
    import os

    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = {"service.name": os.environ.get("OTEL_SERVICE_NAME", service)}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider.shutdown


@functools.cache
def _propagator() -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator()
