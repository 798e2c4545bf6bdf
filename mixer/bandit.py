"""EXP3-like shares: more of those sources that pay, and a part of all that explores.

After Auer, Cesa-Bianchi, Freund and Schapire, The Nonstochastic Multiarmed Bandit Problem (2002).
With k sources, rewards x between 0 and 1 and exploration g,

    p_i = (1 - g)·w_i / (w_1 + ... + w_k) + g/k,
    w_i is multiplied by exp(g·y_i/k),   y_i = x_i / p_i for the arm that was drawn, 0 for others.

EXP3 draws one arm from p. A schedule draws nothing: it serves the shares exactly, and of n rows
those of source i are m_i, about p_i·n. The importance-weighted reward of an average row is then
y_i = (m_i/n)·x_i / p_i, which is close to x_i, without the variance of a draw; a source without
measured rows gets 0, as an arm that was not drawn. p_i is the share that was in force.
"""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from .errors import Reason, RecollectError
from .limits import BASIS_POINTS, Limits
from .projection import Points
from .proposals import (
    DECIMAL_PLACES,
    Measure,
    Memory,
    Observation,
    Proposer,
    Wish,
    parse_measure,
    unusable,
    values_of_sources,
)

LEAST_LOG = Decimal(-100)
"""A weight below exp(-100) is none; to let it fall further would only delay its return."""


class Weights(Memory):
    """Logarithms of the weights, the greatest of them 0."""

    logs: tuple[Measure, ...] = ()


class Exp3Like(Proposer):
    """Shares that follow rewards, with a part that explores."""

    memory: ClassVar[type[Memory]] = Weights
    kind: Literal["exp3_like"] = "exp3_like"
    exploration: Annotated[int, Field(strict=True, ge=1, le=BASIS_POINTS)] = 1000
    """The part of the shares that is the same for all sources, in basis points."""
    lowest: Measure = parse_measure(0)
    """Reward that counts as 0; less counts as 0 as well."""
    highest: Measure = parse_measure(1)
    """Reward that counts as 1; more counts as 1 as well."""

    @model_validator(mode="after")
    def _agree(self) -> Exp3Like:
        if self.lowest >= self.highest:
            raise RecollectError(
                Reason.POLICY_INVALID,
                "the lowest reward is not below the highest",
                where="lowest",
                fix="Give the range that rewards have.",
            )
        return self

    def learn(
        self, limits: Limits, current: Points, memory: Memory, observation: Observation
    ) -> Weights:
        """The weights after the rewards."""
        rewards = values_of_sources(limits, observation)
        gamma, logs = self._gamma, _logs(memory)
        num_rows = sum(observation.rows.values())
        grown = []
        for (name, _), reward, points, log in zip(
            limits.sources, rewards, current, logs, strict=True
        ):
            rows = observation.rows.get(name, 0)
            if (reward is None) != (rows == 0):
                raise unusable(
                    "a reward and its rows go together", where=f"observation.rows.{name}"
                )
            if reward is not None and points:
                part = (reward - self.lowest) / (self.highest - self.lowest)
                gain = min(max(part, Decimal(0)), Decimal(1)) * rows / num_rows
                log += gamma * gain * BASIS_POINTS / points / len(rewards)
            grown.append(log)
        greatest = max(grown)
        kept = tuple(max(log - greatest, LEAST_LOG).quantize(DECIMAL_PLACES) for log in grown)
        return Weights.model_validate({**memory.model_dump(), "logs": kept})

    def wish(
        self, limits: Limits, current: Points, memory: Memory, observation: Observation
    ) -> Wish | None:
        """The distribution that EXP3 would draw from."""
        weights = [log.exp() for log in _logs(memory)]
        total = sum(weights, Decimal(0))
        exploring = self._gamma / len(weights)
        probabilities = [(1 - self._gamma) * weight / total + exploring for weight in weights]
        return Wish(
            weights=tuple(Fraction(value) for value in probabilities),
            reason="shares follow the rewards",
        )

    @property
    def _gamma(self) -> Decimal:
        return Decimal(self.exploration) / BASIS_POINTS


def _logs(memory: Memory) -> tuple[Decimal, ...]:
    """Logarithms of the weights; those of the shares of the beginning where none are known yet."""
    if isinstance(memory, Weights) and memory.logs:
        return memory.logs
    return tuple(
        (Decimal(max(points, 1)) / BASIS_POINTS).ln().quantize(DECIMAL_PLACES)
        for points in memory.base
    )
