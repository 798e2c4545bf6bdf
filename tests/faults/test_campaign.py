"""The short form of the campaign; `make faults` is the long one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from .campaign import Scene, Wanted, campaign, on_sockets, with_tls
from .fleet import make_place
from .proxy import Odds

pytestmark = [pytest.mark.slow, pytest.mark.faults]

SEED = int(os.environ.get("RECOLLECT_SEED", "1"))
HARMLESS = Odds(delay=0.02, cut=0.01)
LYING = Odds(delay=0.02, cut=0.01, double=0.01, change=0.01)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("m")
    return folder, make_place(folder)


@pytest.mark.parametrize(
    ("scene", "wanted"),
    [
        (on_sockets, Wanted(server_kills=6, trainer_kills=6, up=HARMLESS, down=LYING)),
        (with_tls, Wanted(rotations=5, server_kills=2, trainer_kills=2, up=LYING, down=LYING)),
    ],
)
def test_what_was_trained_on_is_what_it_would_have_been(
    made: tuple[Path, str],
    tmp_path_factory: pytest.TempPathFactory,
    scene: Callable[[Path, str], Scene],
    wanted: Wanted,
) -> None:
    folder, plan_id = made
    copy = tmp_path_factory.mktemp("c")
    shutil.copytree(folder / "data", copy / "data")
    outcome = campaign(scene(copy, plan_id), wanted, SEED)
    print(f"seed {SEED}: {dict(outcome.counts)}, {outcome.num_steps} steps")
    assert outcome.counts["server"] == len(outcome.server_back) == wanted.server_kills
    assert outcome.counts["trainer"] == len(outcome.trainer_back) == wanted.trainer_kills
    assert outcome.counts["rotation"] == wanted.rotations
