"""The settings of a run: everything beside plan and base model that the tuned weights depend on."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """How the fine-tuning loop steps."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate of AdamW."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """What follows the warm-up: a cosine down to a twentieth, or a constant rate."""
    warm_up_steps: int = Field(default=6, ge=0)
    """Steps over which the learning rate rises linearly."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Decay of matrices; vectors such as norms are not decayed."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of the gradient."""
    micro_rows: int | None = Field(default=None, ge=1)
    """Rows that are differentiated at once (None: all); changes memory, not the result."""
    checkpoint_every: int = Field(default=0, ge=0)
    """Steps between checkpoints; 0 means none but the final model."""
    seed: int = 0
    """Seed of what is random in the model, such as dropout; the plan orders the data."""
    threads: int | None = Field(default=None, ge=1)
    """Threads of torch; None leaves its own choice."""

    def rate(self, step: int, num_steps: int) -> float:
        """The learning rate of a step; a pure function, so a resumed run needs no state for it."""
        if step < self.warm_up_steps:
            return self.learning_rate * (step + 1) / self.warm_up_steps
        if self.schedule == "constant":
            return self.learning_rate
        progress = (step - self.warm_up_steps) / max(1, num_steps - self.warm_up_steps)
        return self.learning_rate * (0.05 + 0.475 * (1 + math.cos(math.pi * progress)))
