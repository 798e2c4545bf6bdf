"""A loop of your own with Accelerate: it splits the rows, and each rank fetches its own.

torchrun --nproc-per-node 2 examples/accelerate_loop.py --server ADDRESS --plan PLAN_ID --steps 6
"""

import argparse
from pathlib import Path

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader
from transformers import default_data_collator

from recollect.trainer import RowGuard, connect, load_model, plan_dataset

SHIPPED = Path(__file__).parents[1] / "services" / "teacher" / "model"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True, help="host:port or unix:path")
    parser.add_argument("--plan", required=True)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--first-step", type=int, default=0, help="where to go on")
    parser.add_argument("--model", type=Path, default=SHIPPED)
    args = parser.parse_args()

    accelerator = Accelerator(cpu=True)
    rank, ranks = accelerator.process_index, accelerator.num_processes
    plan = connect(args.server).plan(args.plan)
    rows = plan.mix.batch_size // ranks
    dataset = plan_dataset(args.server, args.plan, world_size=ranks, micro_rows=rows, watched=True)
    loader = DataLoader(dataset, batch_size=rows, collate_fn=default_data_collator)
    model = load_model(args.model, plan)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    # Skipping batches fetches nothing: the data set is asked for row numbers only.
    loader = accelerator.skip_first_batches(loader, args.first_step)
    guard = RowGuard(plan, rank, ranks, first_step=args.first_step)
    for _, watched in zip(range(args.steps), loader, strict=False):
        batch = guard.take(watched)  # raises rather than train on other rows
        # Shards differ in tokens: divide by those of all ranks. DDP takes the mean over ranks.
        num_tokens = accelerator.reduce((batch["labels"] != -100).sum())
        loss = model(**batch, num_items_in_batch=num_tokens / ranks, use_cache=False).loss
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        whole = accelerator.reduce(loss.detach()) / ranks
        digest = guard.last.digest.hex()[:16]
        accelerator.print(f"step {guard.last.step}: loss {whole.item():.6f}, rows {digest}")
    for source, part in guard.realised().items():
        accelerator.print(f"realised {source}: {float(part):.4f}")


if __name__ == "__main__":
    main()
