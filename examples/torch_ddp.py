"""torch DDP: every rank fetches its own shard of each batch, and the loss is exact by token.

torchrun --nproc-per-node 2 examples/torch_ddp.py --server ADDRESS --plan PLAN_ID --steps 6
"""

import argparse
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from transformers import default_data_collator

from recollect.trainer import PlanBatchSampler, RowGuard, load_model, plan_dataset
from recollect.trainer.dataset import PlanRows

SHIPPED = Path(__file__).parents[1] / "services" / "teacher" / "model"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True, help="host:port or unix:path")
    parser.add_argument("--plan", required=True)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--model", type=Path, default=SHIPPED)
    args = parser.parse_args()

    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if world_size > 1:
        dist.init_process_group("gloo")
    dataset = plan_dataset(args.server, args.plan, world_size=world_size, watched=True)
    plan = PlanRows.of(dataset).plan
    sampler = PlanBatchSampler(plan, rank, world_size)  # not DistributedSampler, which strides
    loader = DataLoader(dataset, batch_sampler=sampler, collate_fn=default_data_collator)
    guard = RowGuard(plan, rank, world_size)

    model = load_model(args.model, plan)
    model.train()
    wrapped = DistributedDataParallel(model) if world_size > 1 else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for step, watched in zip(range(args.steps), loader, strict=False):
        batch = guard.take(watched)  # raises rather than train on other rows
        # Shards differ in tokens: divide by those of all ranks. DDP takes the mean over ranks.
        num_tokens = (batch["labels"] != -100).sum()
        if world_size > 1:
            dist.all_reduce(num_tokens)
        share = num_tokens / world_size
        loss = wrapped(**batch, num_items_in_batch=share, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        whole = loss.detach() / world_size
        if world_size > 1:
            dist.all_reduce(whole)
        if rank == 0:
            print(f"step {step}: loss {whole.item():.6f}, rows {guard.last.digest.hex()[:16]}")
    for source, part in guard.realised().items():
        print(f"realised {source}: {float(part):.4f} on rank {rank}")
    if world_size > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
