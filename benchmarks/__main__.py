"""``python -m benchmarks``."""

import sys

if __name__ == "__main__":
    try:
        from benchmarks.cli.main import main  # importing takes seconds, during which a user may interrupt

        main()
    except KeyboardInterrupt:
        print("Interrupted.  Nothing finished is lost.", file=sys.stderr)
        sys.exit(130)
