"""Hugging Face Trainer on a sealed plan; run it again after a crash and it goes on exactly.

python examples/hf_trainer.py --server ADDRESS --plan PLAN_ID --steps 6 --out OUT
torchrun --nproc-per-node 2 examples/hf_trainer.py ...   # each rank fetches its own rows
"""

import argparse
import os
from pathlib import Path

from transformers import Trainer, TrainerCallback, TrainingArguments, default_data_collator
from transformers.trainer_utils import get_last_checkpoint

from recollect.trainer import TrainerGuard, connect, load_model, plan_dataset

SHIPPED = Path(__file__).parents[1] / "services" / "teacher" / "model"


class Told(TrainerCallback):
    """Prints the loss and the rows of every step."""

    def __init__(self, guard: TrainerGuard) -> None:
        self.watcher = guard

    def on_log(self, args, state, control, logs=None, **others) -> None:
        if "loss" in logs and args.process_index == 0:
            rows = self.watcher.guard.last.digest.hex()[:16]
            print(f"step {state.global_step - 1}: loss {logs['loss']!r}, rows {rows}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True, help="host:port or unix:path")
    parser.add_argument("--plan", required=True)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--out", type=Path, default="out")
    parser.add_argument("--save-every", type=int, default=2)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--model", type=Path, default=SHIPPED)
    args = parser.parse_args()

    world_size = int(os.environ.get("WORLD_SIZE", 1))
    plan = connect(args.server).plan(args.plan)
    # Rows at a time × ranks × accumulation steps is the batch of the plan.
    rows = plan.mix.batch_size // world_size // args.accumulate
    dataset = plan_dataset(
        args.server, args.plan, world_size=world_size, micro_rows=rows, watched=True
    )
    guard = TrainerGuard(dataset)
    trainer = Trainer(
        model=load_model(args.model, plan),
        args=TrainingArguments(
            output_dir=args.out,
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=args.accumulate,
            max_steps=args.steps,
            save_steps=args.save_every,
            logging_steps=1,
            learning_rate=1e-4,
            train_sampling_strategy="sequential",  # the plan is the order
            remove_unused_columns=False,
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
        ),
        train_dataset=dataset,
        data_collator=default_data_collator,
        callbacks=[guard, Told(guard)],
    )
    args.out.mkdir(parents=True, exist_ok=True)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(args.out))
    for source, part in guard.guard.realised().items():
        print(f"realised {source}: {float(part):.4f}")


if __name__ == "__main__":
    main()
