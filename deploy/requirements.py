"""Prints the requirements of the package and of the extras named, one word each.

Dependencies are installed apart from the package, so that a changed source file never makes pip
resolve them again.
"""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
requirements = set(project["dependencies"])
for extra in sys.argv[1:]:
    requirements.update(project["optional-dependencies"][extra])
print("\n".join(sorted(requirement.replace(" ", "") for requirement in requirements)))
