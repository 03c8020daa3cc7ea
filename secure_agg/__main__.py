"""``python -m secure_agg`` is ``secure-agg``."""

from secure_agg.cli import main

if __name__ == "__main__":
    main()
