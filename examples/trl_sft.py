"""TRL's SFTTrainer on a sealed plan; run it again after a crash and it goes on exactly.

python examples/trl_sft.py --server ADDRESS --plan PLAN_ID --steps 6 --out OUT
"""

import argparse
from pathlib import Path

from transformers import TrainerCallback, default_data_collator
from transformers.trainer_utils import get_last_checkpoint
from trl import SFTConfig, SFTTrainer

from recollect.trainer import TrainerGuard, connect, plan_dataset
from recollect.trainer.model import load_model, load_tokenizer

SHIPPED = Path(__file__).parents[1] / "services" / "teacher" / "model"


class Told(TrainerCallback):
    """Prints the loss and the rows of every step."""

    def __init__(self, guard: TrainerGuard) -> None:
        self.watcher = guard

    def on_log(self, args, state, control, logs=None, **others) -> None:
        if "loss" in logs:
            rows = self.watcher.guard.last.digest.hex()[:16]
            print(f"step {state.global_step - 1}: loss {logs['loss']!r}, rows {rows}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True, help="host:port or unix:path")
    parser.add_argument("--plan", required=True)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--out", type=Path, default="out")
    parser.add_argument("--save-every", type=int, default=2)
    parser.add_argument("--model", type=Path, default=SHIPPED)
    args = parser.parse_args()

    plan = connect(args.server).plan(args.plan)
    dataset = plan_dataset(args.server, args.plan, micro_rows=plan.mix.batch_size, watched=True)
    guard = TrainerGuard(dataset)
    trainer = SFTTrainer(
        model=load_model(args.model, plan),
        args=SFTConfig(
            output_dir=args.out,
            per_device_train_batch_size=plan.mix.batch_size,
            max_steps=args.steps,
            save_steps=args.save_every,
            logging_steps=1,
            learning_rate=1e-4,
            train_sampling_strategy="sequential",  # the plan is the order
            remove_unused_columns=False,
            dataset_kwargs={"skip_prepare_dataset": True},  # rows come as tokens
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            bf16=False,
        ),
        processing_class=load_tokenizer(args.model),
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
