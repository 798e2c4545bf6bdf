"""Lightning on a sealed plan; a checkpoint holds the step, and the plan has the rest.

python examples/lightning_loop.py --server ADDRESS --plan PLAN_ID --steps 6 [--resume CHECKPOINT]
"""

import argparse
from pathlib import Path

import lightning
import torch
from torch.utils.data import DataLoader
from transformers import default_data_collator

from recollect.trainer import PlanBatchSampler, RowGuard, connect, load_model, plan_dataset
from recollect.trainer.dataset import PlanRows

SHIPPED = Path(__file__).parents[1] / "services" / "teacher" / "model"


class Rows(lightning.LightningDataModule):
    def __init__(self, server: str, plan_id: str) -> None:
        super().__init__()
        self.server, self.plan_id, self.state = server, plan_id, None

    def train_dataloader(self) -> DataLoader:
        rank, ranks = self.trainer.global_rank, self.trainer.world_size
        dataset = plan_dataset(self.server, self.plan_id, world_size=ranks, watched=True)
        plan = PlanRows.of(dataset).plan
        sampler, self.guard = PlanBatchSampler(plan, rank, ranks), RowGuard(plan, rank, ranks)
        if self.state is not None:
            sampler.load_state_dict(self.state)
            self.guard.load_state_dict(self.state)
        return DataLoader(dataset, batch_sampler=sampler, collate_fn=default_data_collator)

    def state_dict(self) -> dict:
        return self.guard.state_dict()  # what was trained, not what was fetched ahead

    def load_state_dict(self, state: dict) -> None:
        self.state = state


class FineTuning(lightning.LightningModule):
    def __init__(self, model: Path, server: str, plan_id: str) -> None:
        super().__init__()
        self.model = load_model(model, connect(server).plan(plan_id)).train()

    def training_step(self, watched: dict, index: int) -> torch.Tensor:
        guard, ranks = self.trainer.datamodule.guard, self.trainer.world_size
        batch = guard.take(watched)  # raises rather than train on other rows
        num_tokens = self.trainer.strategy.reduce((batch["labels"] != -100).sum(), reduce_op="sum")
        share = num_tokens / ranks
        loss = self.model(**batch, num_items_in_batch=share, use_cache=False).loss
        digest = guard.last.digest.hex()[:16]
        print(f"step {guard.last.step}: loss {loss.item():.6f}, rows {digest}")
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True, help="host:port or unix:path")
    parser.add_argument("--plan", required=True)
    parser.add_argument("--steps", type=int, default=6, help="of the whole run; not epochs")
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--save", help="where to put a checkpoint at the end")
    parser.add_argument("--resume", help="a checkpoint to go on from")
    args = parser.parse_args()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    # Lightning would put its DistributedSampler, which strides, in place of ours.
    trainer = lightning.Trainer(max_steps=args.steps, use_distributed_sampler=False, **quiet)
    rows = Rows(args.server, args.plan)
    trainer.fit(
        FineTuning(args.model, args.server, args.plan), datamodule=rows, ckpt_path=args.resume
    )
    if args.save:
        trainer.save_checkpoint(args.save)
    for source, part in rows.guard.realised().items():
        print(f"realised {source}: {float(part):.4f}")
