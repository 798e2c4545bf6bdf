"""Engines: the de-identifiers that one tenant's calls ask for, by policy, under its key."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock

from ..mixer.errors import Reason, RecollectError
from ..v1 import deid_pb2 as wire
from .deid_limits import LONGEST_POLICY
from .privacy import Deidentifier, Policy
from .privacy.policy import shipped_policies
from .secret import key_id
from .yaml_text import parse_yaml

_MOST_OPEN = 8
"""Policies that are kept loaded; each takes a megabyte or two, and half a second to load."""
_HIGHEST: Mapping[str, float] = {
    "max_characters": 1 << 20,
    "chunk_characters": 100_000,
    "regex_timeout_seconds": 30.0,
    "text_timeout_seconds": 60.0,
}
"""What a policy may ask of a service's memory and threads; its owner's own is not held to it."""
_MOST_REGIONS = 64
_FROM_OUTSIDE = frozenset(
    {
        *("name", "version", "entities", "except", "operators", "score_threshold"),
        *("tagger_threshold", "caseless_threshold", "person_threshold"),
        *("phone_regions", "propagate", "max_characters"),
        *("chunk_characters", "chunk_overlap", "regex_timeout_seconds"),
        "text_timeout_seconds",
    }
)
"""Fields that a call may set. What names files or hosts is for the service's owner alone."""


class Engines:
    """De-identifiers under one key."""

    def __init__(self, own: Deidentifier, key: bytes) -> None:
        """Begins with what the service ingests with.

        Args:
            own: under the same key; a call that names no policy gets it.
            key: of the surrogates.
        """
        self._own = own
        self._key = key
        self._open: OrderedDict[str, Deidentifier] = OrderedDict()
        self._opening = Lock()

    @property
    def key_id(self) -> str:
        """32 hex digits that stand for the key, and from which nothing of it can be told."""
        return key_id(self._key)

    def policies(self) -> list[tuple[Policy, bool]]:
        """What a header may ask for, by name; and whether it is what the service ingests with."""
        own = self._own.policy
        found = {p.fingerprint: (p, p.fingerprint == own.fingerprint) for p in shipped_policies()}
        found.setdefault(own.fingerprint, (own, True))
        return sorted(found.values(), key=lambda one: (one[0].name, one[1]))

    def of(self, header: wire.DeidentifyHeader) -> Deidentifier:
        """What a call asks for, proved; takes half a second where it was not asked for lately.

        Raises:
            RecollectError: POLICY_INVALID; DEIDENTIFICATION_FAILED where the self-test fails.
        """
        policy = self._policy(header)
        if policy.fingerprint == self._own.policy.fingerprint:
            return self._own
        with self._opening:
            engine = self._open.pop(policy.fingerprint, None)
            if engine is None:
                engine = Deidentifier(policy, self._key)
                engine.prove()
            self._open[policy.fingerprint] = engine
            if len(self._open) > _MOST_OPEN:
                self._open.popitem(last=False)
        return engine

    def _policy(self, header: wire.DeidentifyHeader) -> Policy:
        asked = header.WhichOneof("policy")
        if asked is None:
            return self._own.policy
        return _named(header.policy_name) if asked == "policy_name" else _read(header.policy_yaml)


def _named(name: str) -> Policy:
    """A shipped policy; a path is none, whatever lies there."""
    policies = {policy.name: policy for policy in shipped_policies()}
    if name not in policies:
        raise RecollectError(
            Reason.POLICY_INVALID,
            "the service has no policy of that name",
            where="policy_name",
            fix=f"Name one of {', '.join(policies)}, or send a policy of your own.",
        )
    return policies[name]


def _read(text: str) -> Policy:
    if len(text) > LONGEST_POLICY:
        raise _invalid(f"the policy has {len(text):,} characters; at most {LONGEST_POLICY:,} count")
    values = parse_yaml(text, noun="policy", reason=Reason.POLICY_INVALID)
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise _invalid("the policy is no mapping of fields")
    for name in sorted(Policy.model_fields.keys() & values.keys() - _FROM_OUTSIDE):
        raise _invalid("only the service's own configuration may set it", where=f"policy.{name}")
    try:
        policy = Policy.from_mapping(values)
    except TypeError:
        raise _invalid("a field of the policy holds another kind of value than it takes") from None
    return _within_bounds(policy)


def _within_bounds(policy: Policy) -> Policy:
    for name, highest in _HIGHEST.items():
        if not getattr(policy, name) <= highest:
            raise _invalid(f"a service takes at most {highest:,}", where=f"policy.{name}")
    if len(policy.phone_regions) > _MOST_REGIONS:
        raise _invalid(
            f"a service takes at most {_MOST_REGIONS} regions", where="policy.phone_regions"
        )
    return policy


def _invalid(message: str, where: str = "policy") -> RecollectError:
    return RecollectError(
        Reason.POLICY_INVALID,
        message,
        where=where,
        fix="See docs/how-to/deidentify.md for a policy of your own.",
    )
