"""Launcher for a checkout (`python cli.py search ...`); an installed evoseg has the command `evoseg` instead."""

from evoseg.cli.main import main

if __name__ == "__main__":
    main()
