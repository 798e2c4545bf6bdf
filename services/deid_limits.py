"""What one call of DeidService takes: both sides keep to it, so that neither holds more."""

from __future__ import annotations

MOST_RECORDS = 1_024
"""Records of one request."""
MOST_CHARACTERS = 1 << 20
"""Characters of one record, in all of its messages."""
MOST_MESSAGES = 10_000
"""Messages of one record."""
MOST_KNOWN_VALUES = 64
"""Known values of one record: each is looked for in all of its text."""
LONGEST_NAME = 1_024
"""Characters of a known value, and of a subject."""
LONGEST_ID = 256
"""Characters of a caller's name for a record."""
LONGEST_POLICY = 1 << 16
"""Characters of a policy that comes with a call."""
MOST_RESULT_BYTES = 15 << 20
"""Bytes of one record's result; a message has to fit into 16 MiB with its envelope."""
