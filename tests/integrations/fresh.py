"""Every example from a fresh environment that has `recollect[trainer]` and its framework alone.

    python -m tests.integrations.fresh [--only trl_sft,torch_loop]

or `make examples`. A package that an example needs and nobody installs shows here and nowhere else:
the environment that the tests run in has everything. Prints a line for each example.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import venv
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faults.fleet import Server, make_place, wait_for
else:
    from ..faults.fleet import Server, make_place, wait_for

ROOT = Path(__file__).parents[2]
FRAMEWORKS: dict[str, tuple[str, ...]] = {
    "torch_loop": (),
    "torch_ddp": (),
    "read_source": (),
    "accelerate_loop": ("accelerate",),
    "hf_trainer": ("accelerate",),
    "lightning_loop": ("lightning",),
    "torchdata_stateful": ("torchdata",),
    "trl_sft": ("trl",),
}
"""What each takes beside `recollect[trainer]`."""
RANKS = {"torch_ddp": 2, "accelerate_loop": 2}
FLAGS = {"read_source": ("--rows", "6", "--source", "task")}
INSTALL_SECONDS, RUN_SECONDS = 1_200, 300
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def wheel(folder: Path) -> Path:
    """The wheel of this checkout."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder)]
    subprocess.run([*command, str(ROOT)], check=True, timeout=INSTALL_SECONDS)
    [built] = folder.glob("recollect-*.whl")
    return built


def environment(folder: Path, built: Path, packages: tuple[str, ...]) -> Path:
    """The interpreter of an environment with the wheel, its trainer's extra, and some packages."""
    venv.create(folder, with_pip=True, clear=True)
    pip = [str(folder / "bin" / "pip"), "install", "--quiet", "-c", str(ROOT / "constraints.txt")]
    wanted = [f"recollect[trainer] @ {built.as_uri()}", *packages]
    subprocess.run([*pip, *wanted], check=True, timeout=INSTALL_SECONDS)
    return folder / "bin" / "python"


def run(python: Path, name: str, address: str, plan_id: str, folder: Path) -> str:
    """Runs an example; its last line."""
    launcher = [str(python)]
    if name in RANKS:
        launcher += ["-m", "torch.distributed.run", "--standalone"]
        launcher += [f"--nproc-per-node={RANKS[name]}"]
    command = [*launcher, str(ROOT / "examples" / f"{name}.py")]
    command += ["--server", address, "--plan", plan_id, *FLAGS.get(name, ("--steps", "4"))]
    # Not in the checkout: what the example imports has to be what was installed.
    done = subprocess.run(
        command,
        cwd=folder,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
    )
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines() or [""]
    if done.returncode:
        raise RuntimeError(f"exit {done.returncode}: {lines[-1][:300]}")
    return lines[-1]


def main() -> int:
    """Runs the examples that were asked for; how many failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.integrations.fresh")
    parser.add_argument("--only", help="examples, with commas between them")
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(FRAMEWORKS)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="rx") as temporary:
        folder = Path(temporary)
        built = wheel(folder)
        plan_id = make_place(folder / "place")
        server = Server(folder / "place" / "data", f"unix:{folder}/s", folder / "server")
        wait_for("serving", partial(getattr, server, "serves"))
        for packages in dict.fromkeys(FRAMEWORKS[name] for name in names):
            python = environment(folder / "environment", built, packages)
            for name in names:
                if FRAMEWORKS[name] != packages:
                    continue
                began = time.monotonic()
                work = folder / name
                work.mkdir()
                try:
                    told = run(python, name, server.address, plan_id, work)
                except (RuntimeError, subprocess.TimeoutExpired) as error:
                    told = f"FAILED {error}"
                    failed += 1
                with_what = ", ".join(("recollect[trainer]", *packages))
                print(
                    f"{name:20} {with_what:32} {time.monotonic() - began:4.0f} s  {told}",
                    flush=True,
                )
        server.kill()
    return failed


if __name__ == "__main__":
    sys.exit(main())
