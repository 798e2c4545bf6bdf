"""Trains a tagger: `python -m recollect.services.privacy.training --data FOLDER --out tagger.npz`.

Same seed, same data, same libraries: the same batches. 30 minutes on two cores for the shipped one.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader

from ..tagger.labels import LABELS
from .dataset import Batches
from .network import DILATIONS, Network, loss_of, weights_of


def nltk_names(folder: Path) -> tuple[str, ...]:
    """The first names of the NLTK corpus."""
    with ZipFile(folder / "pii" / "first_names.zip") as archive:
        texts = [archive.read(n).decode() for n in archive.namelist() if n.endswith("male.txt")]
    names = (line.strip() for text in texts for line in text.splitlines() if line[:1] != "#")
    return tuple(name for name in names if name)


def save(network: Network, path: Path, described: dict[str, Any]) -> None:
    """Write what the run time reads."""
    text = json.dumps({"labels": LABELS, "dilations": DILATIONS, **described}, sort_keys=True)
    description = np.frombuffer(text.encode(), np.uint8)
    np.savez_compressed(path, description=description, **weights_of(network))


def train(options: argparse.Namespace) -> None:
    """Adam with a linear warm-up and a cosine decay."""
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    network = Network()
    if options.start:
        network.load_state_dict(load_file(options.start))
    optimizer = torch.optim.Adam(network.parameters(), lr=options.rate, betas=(0.9, 0.98))
    batches = Batches(options.data, nltk_names(options.data), options.seed, options.words)
    loader = DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=4)
    begin, seen, mean = time.monotonic(), 0, 0.0
    for step, batch in enumerate(loader):
        # By the clock or by the count, whichever comes first.
        done = max(step / options.steps, (time.monotonic() - begin) / options.seconds)
        if done >= 1:
            break
        rate = options.rate * min(1, (step + 1) / 50) * (0.02 + 0.98 * math.cos(done * math.pi / 2))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss = loss_of(network(batch), batch["allowed"])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        seen += len(batch["ids"])
        mean = 0.98 * mean + 0.02 * float(loss) if step else float(loss)
        if step % 50 == 0:
            print(
                f"step {step} loss {mean:.4f} words {seen:,} {time.monotonic() - begin:.0f} s",
                flush=True,
            )
        if step % 400 == 399:
            save_file(network.state_dict(), options.out.with_suffix(".safetensors"))
    if options.average:
        network.load_state_dict(mean_of(load_file(options.start), network.state_dict()))
    save_file(network.state_dict(), options.out.with_suffix(".safetensors"))
    save(network, options.out, {"seed": options.seed, "words": seen})


def mean_of(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weights half way between two trainings of one network (Izmailov et al. 2018)."""
    return {name: (one[name] + two[name]) / 2 for name in one}


def main() -> None:
    """Trains as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with pii/, text/, general/, task/"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="where the tagger is written (.npz)"
    )
    parser.add_argument("--start", type=Path, help="a network (.safetensors) to go on from")
    parser.add_argument("--steps", type=int, default=6_000)
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after so long")
    parser.add_argument("--words", type=int, default=6_000, help="words of a batch")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--average", action="store_true", help="write the mean of what was started from and the end"
    )
    options = parser.parse_args()
    if options.average and not options.start:
        parser.error("--average asks for --start.")
    train(options)


if __name__ == "__main__":
    main()
