"""``python -m makini_provider``: look at what has landed, and clean up."""

from makini_provider.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
