"""Entry point of `python -m agency`."""

from agency.cli import main

main()
