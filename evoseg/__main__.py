"""`python -m evoseg` is the command `evoseg`."""

from evoseg.cli.main import main

if __name__ == "__main__":
    main()
