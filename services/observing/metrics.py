"""The metrics of a service, in a registry of their own.

Labels are what an operator can act on, and few: a method, a status, a reason, a role, a tenant.
What there may be any number of, such as plans, runs, holders and files, is in no label.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from threading import Lock

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

MOST_TENANTS = 64
"""Tenants that are told apart; all others together are OTHER."""
OTHER = "other"

CALL_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
STREAM_BUCKETS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30)

Reading = tuple[str, float]
"""The value of a label, and how much there is of it."""
Read = Callable[[], Iterable[Reading]]


class Metrics:
    """Every metric of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.readings = Readings(self.registry)
        self._tenants: set[str] = set()
        self._naming = Lock()
        self.calls = Counter(
            "recollect_calls",
            "Calls that ended, by method, gRPC status and reason (empty if there is none).",
            ("method", "code", "reason"),
            registry=self.registry,
        )
        self.call_seconds = Histogram(
            "recollect_call_seconds",
            "How long calls took, streams included.",
            ("method",),
            buckets=CALL_BUCKETS,
            registry=self.registry,
        )
        self.calls_in_flight = Gauge(
            "recollect_calls_in_flight",
            "Calls that are being answered.",
            ("method",),
            registry=self.registry,
        )
        self.sent_bytes = Counter(
            "recollect_sent_bytes",
            "Bytes of answers, before TLS.",
            ("method",),
            registry=self.registry,
        )
        self.stream_tokens = Counter(
            "recollect_stream_tokens",
            "Tokens of batches that were sent.",
            ("tenant",),
            registry=self.registry,
        )
        self.stream_rows = Counter(
            "recollect_stream_rows",
            "Rows of batches that were sent.",
            ("tenant",),
            registry=self.registry,
        )
        self.stream_messages = Counter(
            "recollect_stream_messages",
            "Messages of batches that were sent.",
            ("tenant",),
            registry=self.registry,
        )
        self.gather_seconds = Histogram(
            "recollect_stream_gather_seconds",
            "How long it took to gather a message.",
            buckets=STREAM_BUCKETS,
            registry=self.registry,
        )
        self.ready_seconds = Histogram(
            "recollect_stream_ready_seconds",
            "How long a message that was ready waited until its client had room for it.",
            buckets=STREAM_BUCKETS,
            registry=self.registry,
        )
        self.stalls = Counter(
            "recollect_stream_stalls",
            "Waits of a stream of 0.1 s or more, by what was waited for: client or gather.",
            ("waiting_for",),
            registry=self.registry,
        )
        self.acks = Counter(
            "recollect_acks",
            "Acknowledgements that were recorded.",
            ("tenant",),
            registry=self.registry,
        )
        self.acknowledged_tokens = Counter(
            "recollect_acknowledged_tokens",
            "Tokens that were trained on, by the role of their source.",
            ("tenant", "role"),
            registry=self.registry,
        )
        self.run_deviation = Gauge(
            "recollect_run_deviation",
            "By how much the source that is furthest off its share was off it when a run last "
            "acknowledged, in the unit of its mix.",
            ("tenant", "unit"),
            registry=self.registry,
        )
        self.cache_builds = Counter(
            "recollect_token_cache_builds",
            "Token caches that were built, because they were missing or because they were damaged.",
            ("cause",),
            registry=self.registry,
        )

    def tenant(self, name: str) -> str:
        """The label of a tenant."""
        with self._naming:
            if name in self._tenants or len(self._tenants) < MOST_TENANTS:
                self._tenants.add(name)
                return name
        return OTHER


class Readings(Collector):
    """What is read when somebody asks, so that keeping it costs nothing meanwhile."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._families: list[tuple[str, str, str, Read]] = []
        registry.register(self)

    def add(self, name: str, documentation: str, label: str, read: Read) -> None:
        """Adds a gauge with one label.

        Args:
            name: its name.
            documentation: what it says.
            label: name of the label.
            read: its values; those of the same label are added up. Called in another thread.
        """
        self._families.append((name, documentation, label, read))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges as of now."""
        for name, documentation, label, read in self._families:
            sums: dict[str, float] = {}
            for value, amount in read():
                sums[value] = sums.get(value, 0.0) + amount
            family = GaugeMetricFamily(name, documentation, labels=(label,))
            for value, amount in sums.items():
                family.add_metric((value,), amount)
            yield family
