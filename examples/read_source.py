"""One source of a plan as a streamed `datasets.IterableDataset`; no training.

python examples/read_source.py --server ADDRESS --plan PLAN_ID --source SOURCE
"""

import argparse
from itertools import islice

from recollect.trainer import source_dataset


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True, help="host:port or unix:path")
    parser.add_argument("--plan", required=True)
    parser.add_argument("--source", help="may be left out where the plan has only one")
    parser.add_argument("--rows", type=int, default=6)
    args = parser.parse_args()

    rows = source_dataset(args.server, args.plan, args.source)
    # Two rows, then a state, from which any other reader goes on.
    for row in islice(rows, 2):
        print(f"position {row['position']}: {row['num_tokens']} tokens")
    reading = iter(rows)
    next(reading), next(reading)
    state = rows.state_dict()

    again = source_dataset(args.server, args.plan, args.source)
    again.load_state_dict(state)
    for row in islice(again, args.rows - 2):
        print(f"position {row['position']}: {row['num_tokens']} tokens")


if __name__ == "__main__":
    main()
