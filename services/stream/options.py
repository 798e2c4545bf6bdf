"""Channel options of the server, each with its reason; those of the trainer's client agree."""

from __future__ import annotations

from .frames import MAX_FRAME_BYTES

MAX_REQUEST_BYTES = 16 * 1024 * 1024
"""Largest request: a group of raw examples on its way in."""

MIN_PING_INTERVAL_MS = 60_000
"""How often a client may ping; the client pings every 210 s, well above."""

SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    # A frame and the few hundred bytes around it.
    ("grpc.max_send_message_length", MAX_FRAME_BYTES + 64 * 1024),
    # Some cloud gateways drop a connection that is silent for 240 s: ping before that.
    ("grpc.keepalive_time_ms", 210_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # A trainer may be silent for minutes between two calls, while it evaluates.
    ("grpc.keepalive_permit_without_calls", 1),
    # The default, 300 s, would answer a client that pings every 210 s with GOAWAY too_many_pings.
    ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
    # Two servers on one port would answer in turns: the second one has to fail instead.
    ("grpc.so_reuseport", 0),
)
