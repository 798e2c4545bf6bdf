"""What runs beside the GPU: client, loader, ratio guard and a fine-tuning loop.

`from recollect.trainer import ReplayLoader` loads torch only when the name is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .callback import TrainerGuard
    from .client import Client, Patience, connect
    from .dataset import plan_dataset
    from .guard import RatioGuard
    from .loader import ReplayLoader, TrainBatch
    from .model import load_model, require_tokenizer
    from .reading import source_dataset
    from .rowguard import RowGuard
    from .sampler import PlanBatchSampler

_HOMES = {
    "Client": "client",
    "Patience": "client",
    "PlanBatchSampler": "sampler",
    "RatioGuard": "guard",
    "ReplayLoader": "loader",
    "RowGuard": "rowguard",
    "TrainBatch": "loader",
    "TrainerGuard": "callback",
    "connect": "client",
    "load_model": "model",
    "plan_dataset": "dataset",
    "require_tokenizer": "model",
    "source_dataset": "reading",
}

__all__ = [
    "Client",
    "Patience",
    "PlanBatchSampler",
    "RatioGuard",
    "ReplayLoader",
    "RowGuard",
    "TrainBatch",
    "TrainerGuard",
    "connect",
    "load_model",
    "plan_dataset",
    "require_tokenizer",
    "source_dataset",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
