"""Print the lowest versions that pyproject.toml allows, as requirements for pip: `make test-minimum` installs them."""

import re
import tomllib
from pathlib import Path

PINNED = {"torch"}
"""What constraints.txt pins everywhere, since other versions bring gigabytes of CUDA libraries."""
TOOLS = {"hatchling", "hypothesis", "pytest", "pytest-xdist"}
"""What only the tests need; from constraints.txt, too."""


def lowest(requirement: str) -> str:
    """Turn `name>=1.2,<3` into `name==1.2`."""
    found = re.match(r"([\w.-]+(?:\[[^]]*\])?)>=([\d.]+)", requirement)
    if found is None:
        raise SystemExit(f"pyproject.toml: '{requirement}' names no lowest version")
    return f"{found[1]}=={found[2]}"


def main() -> None:
    """Run as a script."""
    root = Path(__file__).resolve().parent.parent
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    # Segmenter works with scikit-learn and without it; the readers of formats are tested where they are installed.
    used = [r for r in extras["dev"] if r.startswith("scikit-learn") or r in extras["formats"]]
    for requirement in [*project["dependencies"], *extras["dask"], *used]:
        if requirement.split(">")[0] not in PINNED:
            print(lowest(requirement))
    for line in (root / "constraints.txt").read_text("utf-8").splitlines():
        if line.split("==")[0] in PINNED | TOOLS:
            print(line)


if __name__ == "__main__":
    main()
