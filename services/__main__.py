"""`python -m recollect.services` is the command line."""

import sys


def main() -> None:
    """Runs the command line; an interrupt ends it without a word, also while it still loads."""
    try:
        from .cli import main as run

        run()
    except KeyboardInterrupt:
        # What a shell makes of a program that ended by an interrupt.
        sys.exit(130)


if __name__ == "__main__":
    main()
