"""torchdata's StatefulDataLoader with workers: its own state resumes the plan exactly.

python examples/torchdata_stateful.py --server ADDRESS --plan PLAN_ID --steps 6
"""

import argparse
from pathlib import Path

import torch
from torchdata.stateful_dataloader import StatefulDataLoader
from transformers import default_data_collator

from recollect.trainer import PlanBatchSampler, RowGuard, load_model, plan_dataset
from recollect.trainer.dataset import PlanRows

SHIPPED = Path(__file__).parents[1] / "services" / "teacher" / "model"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True, help="host:port or unix:path")
    parser.add_argument("--plan", required=True)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--state", type=Path, help="file with the state, read and written")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--model", type=Path, default=SHIPPED)
    args = parser.parse_args()

    dataset = plan_dataset(args.server, args.plan, watched=True)
    plan = PlanRows.of(dataset).plan
    loader = StatefulDataLoader(
        dataset,
        batch_sampler=PlanBatchSampler(plan),
        collate_fn=default_data_collator,
        num_workers=args.workers,
    )
    guard = RowGuard(plan)
    if args.state is not None and args.state.exists():
        state = torch.load(args.state, weights_only=True)
        loader.load_state_dict(state["loader"])
        guard.load_state_dict(state["guard"])

    model = load_model(args.model, plan)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for _, watched in zip(range(args.steps), loader, strict=False):
        batch = guard.take(watched)  # raises rather than train on other rows
        loss = model(**batch, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        digest = guard.last.digest.hex()[:16]
        print(f"step {guard.last.step}: loss {loss.item():.6f}, rows {digest}")
    if args.state is not None:
        state = {"loader": loader.state_dict(), "guard": guard.state_dict()}
        torch.save(state, args.state)
    for source, part in guard.realised().items():
        print(f"realised {source}: {float(part):.4f}")


if __name__ == "__main__":
    main()
