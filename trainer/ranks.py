"""The processes that share a batch: sums over all, so that every rank takes the same step."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from ..mixer.errors import Reason, RecollectError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Ranks:
    """This process among the ranks of a run."""

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank = rank
        self.world_size = world_size

    @classmethod
    def alone(cls) -> Ranks:
        """A run of one process."""
        return cls(0, 1)

    @classmethod
    def join(cls, rank: int, world_size: int) -> Ranks:
        """Meets the other ranks over gloo, at MASTER_ADDR and MASTER_PORT.

        Raises:
            RecollectError: `RANK_INVALID`, or `CONFIG_INVALID` when the meeting place is not named.
        """
        if not 0 <= rank < world_size:
            raise RecollectError(
                Reason.RANK_INVALID,
                f"Rank {rank} of {world_size} does not exist.",
                where="--rank",
                fix=f"Give a rank in 0 … {world_size - 1}.",
            )
        if world_size == 1:
            return cls.alone()
        if not {"MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
            raise RecollectError(
                Reason.CONFIG_INVALID,
                "Several ranks need a place to meet.",
                where="MASTER_ADDR, MASTER_PORT",
                fix="Set both to an address of rank 0, or start the ranks with torchrun.",
            )
        # This module keeps the group that there is when it is first read, as a default argument.
        # Whatever reads it later (transformers does) would hold ours past `leave`, and its threads
        # run into the end of the interpreter, which aborts. Read now, there is none to keep.
        importlib.import_module("torch.distributed.nn.functional")
        dist.init_process_group("gloo", rank=rank, world_size=world_size)
        return cls(rank, world_size)

    def sum(self, value: float) -> float:
        """The sum of a number over all ranks."""
        if self.world_size == 1:
            return value
        total = torch.tensor([value], dtype=torch.float64)
        dist.all_reduce(total)
        return float(total)

    def sum_gradients(self, model: PreTrainedModel) -> None:
        """Adds up the gradients of all ranks, in place."""
        if self.world_size == 1:
            return
        trained = [p for p in model.parameters() if p.requires_grad]
        flat = torch.cat(
            [(p.grad if p.grad is not None else torch.zeros_like(p)).flatten() for p in trained]
        )
        dist.all_reduce(flat)
        start = 0
        for p in trained:
            p.grad = flat[start : start + p.numel()].view_as(p).clone()
            start += p.numel()

    def leave(self) -> None:
        """Parts from the other ranks."""
        if self.world_size > 1:
            dist.destroy_process_group()
