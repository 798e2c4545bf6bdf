"""The same rows for every loader: made once, then put into the format that each peer reads.

    python bench/stream_data.py FORMAT --data FOLDER --rows 512

FORMAT is `raw` (numpy only) or one of the peers' own, which has to run in an environment that
holds the peer's package; `bench/stream.py` does so. Four sources, 70/15/10/5 of the rows, every
row filled to its length. The first token of a row is the number of its source, the next two its
row number; the mask leaves out a prompt of some length, as in supervised fine-tuning.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

SHARES = (0.7, 0.15, 0.1, 0.05)
NUM_ROWS = {512: 56_000, 2048: 4_000}
"""Rows by their length in tokens: resuming at row 50,000 stays in the first epoch of the first."""
VOCABULARY = 32_000
CHUNK_ROWS = 1_024
SHARD_ROWS = {512: 1_024, 2048: 32}
"""Rows of a shard, so that the smallest source still has several for several workers."""
VERSION = "1"


def place(data: Path, length: int, name: str) -> Path:
    """Where rows of a length lie in a format."""
    return data / str(length) / name


def make_raw(data: Path, length: int, out: Path) -> None:
    """Draws the rows: per source `tokens` int32 and `mask` bool, both (rows, length)."""
    for source, share in enumerate(SHARES):
        num_rows = round(NUM_ROWS[length] * share)
        shape = (num_rows, length)
        files = [
            np.lib.format.open_memmap(out / f"{source}.{name}.npy", "w+", dtype, shape)
            for name, dtype in (("tokens", np.int32), ("mask", np.bool_))
        ]
        random = np.random.Generator(np.random.Philox((length, source)))
        for first in range(0, num_rows, CHUNK_ROWS):
            rows = np.arange(first, min(first + CHUNK_ROWS, num_rows))
            tokens = random.integers(8, VOCABULARY, (rows.size, length), dtype=np.int32)
            tokens[:, 0], tokens[:, 1], tokens[:, 2] = source, rows // 1_000, rows % 1_000
            prompts = random.integers(8, length // 2, (rows.size, 1))
            files[0][rows] = tokens
            files[1][rows] = np.arange(length) >= prompts
        for file in files:
            file.flush()


def sources(data: Path, length: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """The raw rows: number of the source, tokens, mask."""
    folder = place(data, length, "raw")
    for source in range(len(SHARES)):
        tokens = np.load(folder / f"{source}.tokens.npy", mmap_mode="r")
        yield source, tokens, np.load(folder / f"{source}.mask.npy", mmap_mode="r")


def make_arrow(data: Path, length: int, out: Path) -> None:
    """`datasets` on disk, with lists of a fixed size."""
    import datasets
    import pyarrow as pa

    datasets.disable_progress_bars()
    for source, tokens, mask in sources(data, length):
        flat = {"input_ids": tokens.reshape(-1), "loss_mask": mask.reshape(-1)}
        columns = {
            name: pa.FixedSizeListArray.from_arrays(pa.array(values), length)
            for name, values in flat.items()
        }
        made = datasets.Dataset(pa.table(columns))
        made.save_to_disk(out / str(source), num_shards=4)


def make_mds(data: Path, length: int, out: Path) -> None:
    """MDS shards of mosaicml-streaming, with arrays of a fixed shape and type."""
    from stream_shards import without_torchvision

    without_torchvision()
    from streaming import MDSWriter

    columns = {"input_ids": f"ndarray:int32:{length}", "loss_mask": f"ndarray:uint8:{length}"}
    for source, tokens, mask in sources(data, length):
        with MDSWriter(out=str(out / str(source)), columns=columns, size_limit=1 << 23) as writer:
            for ids, supervised in zip(tokens, mask.view(np.uint8), strict=True):
                writer.write({"input_ids": np.array(ids), "loss_mask": np.array(supervised)})


def make_tar(data: Path, length: int, out: Path) -> None:
    """Shards of webdataset: a row is one member, its tokens followed by its mask."""
    for source, tokens, mask in sources(data, length):
        (out / str(source)).mkdir()
        for first in range(0, len(tokens), SHARD_ROWS[length]):
            shard = out / str(source) / f"{first // SHARD_ROWS[length]:05}.tar"
            with tarfile.open(shard, "w", format=tarfile.USTAR_FORMAT) as tar:
                for row in range(first, min(first + SHARD_ROWS[length], len(tokens))):
                    body = tokens[row].tobytes() + mask[row].tobytes()
                    member = tarfile.TarInfo(f"{row:08}.row")
                    member.size = len(body)
                    tar.addfile(member, io.BytesIO(body))


def make_energon(data: Path, length: int, out: Path) -> None:
    """The same tars with the index of megatron-energon beside them, and the blend of the four."""
    tool = Path(sys.executable).with_name("energon")
    blend = []
    for source, share in enumerate(SHARES):
        folder = place(data, length, "tar") / str(source)
        shutil.rmtree(folder / ".nv-meta", ignore_errors=True)
        options = [
            "--non-interactive",
            "--split-ratio",
            "1,0,0",
            "--sample-type",
            "CrudeWebdataset",
        ]
        subprocess.run(
            [tool, "prepare", *options, folder], check=True, capture_output=True, text=True
        )
        blend.append({"weight": share, "path": str(folder)})
    # JSON is YAML.
    described = {
        "__module__": "megatron.energon",
        "__class__": "MetadatasetV2",
        "splits": {"train": {"blend": blend}},
    }
    (out / "blend.yaml").write_text(json.dumps(described), encoding="utf-8")


def make_litdata(data: Path, length: int, out: Path) -> None:
    """Chunks of litdata, written as its `optimize` writes them."""
    import torch
    from litdata.streaming.writer import BinaryWriter

    for source, tokens, mask in sources(data, length):
        writer = BinaryWriter(str(out / str(source)), chunk_bytes=1 << 23)
        for row, (ids, supervised) in enumerate(zip(tokens, mask, strict=True)):
            item = {
                "input_ids": torch.from_numpy(np.array(ids)),
                "loss_mask": torch.from_numpy(np.array(supervised)),
            }
            writer.add_item(row, item)
        writer.done()
        writer.merge(1)


FORMATS: dict[str, Callable[[Path, int, Path], None]] = {
    "raw": make_raw,
    "arrow": make_arrow,
    "mds": make_mds,
    "tar": make_tar,
    "energon": make_energon,
    "litdata": make_litdata,
}


def make(name: str, data: Path, length: int) -> bool:
    """Makes the rows of a format where they are not there yet; says whether it did."""
    out = place(data, length, name)
    stamp = out / "made"
    if stamp.exists() and stamp.read_text() == VERSION:
        return False
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    FORMATS[name](data, length, out)
    stamp.write_text(VERSION)
    return True


def main() -> None:
    """Makes one format."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("format", choices=FORMATS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, choices=NUM_ROWS, required=True)
    options = parser.parse_args()
    make(options.format, options.data.resolve(), options.rows)


if __name__ == "__main__":
    main()
