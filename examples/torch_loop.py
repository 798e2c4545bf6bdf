"""A training loop in plain torch on the batches of a sealed plan.

python examples/torch_loop.py --server ADDRESS --plan PLAN_ID --steps 6
"""

import argparse
from pathlib import Path

import torch

from recollect.trainer import RatioGuard, ReplayLoader, load_model

SHIPPED = Path(__file__).parents[1] / "services" / "teacher" / "model"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True, help="host:port or unix:path")
    parser.add_argument("--plan", required=True)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--first-step", type=int, default=0, help="where to go on")
    parser.add_argument("--model", type=Path, default=SHIPPED)
    args = parser.parse_args()

    # The step number is the whole state: give first_step to resume.
    with ReplayLoader(args.server, args.plan, first_step=args.first_step) as batches:
        model = load_model(args.model, batches.plan)
        model.train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
        guard = RatioGuard(batches.plan, first_step=args.first_step)
        for batch in batches:
            guard.observe(batch)  # raises rather than train on another ratio
            out = model(
                input_ids=batch.input_ids,
                labels=batch.labels,
                # Pieces of packed rows are kept apart by their positions, without mask or cache.
                attention_mask=None if batch.packed else batch.attention_mask,
                position_ids=batch.position_ids,
                use_cache=False,
            )
            out.loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            print(f"step {batch.step}: loss {out.loss.item():.6f}, rows {batch.digest.hex()[:16]}")
            if batch.step + 1 == args.first_step + args.steps:
                break
        for source, part in guard.realised().items():
            print(f"realised {source}: {float(part):.4f}")


if __name__ == "__main__":
    main()
