"""How Sphinx builds these pages. Reference pages are rendered from the code by `_ext/rendered.py`."""

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "Celeriac"
author = "The Celeriac developers"
project_copyright = "The Celeriac developers"
release = tomllib.loads((HERE.parent / "pyproject.toml").read_text())["project"]["version"]

extensions = ["myst_parser", "rendered"]
exclude_patterns = ["_build", "_ext", "changelog", "examples"]
html_theme = "furo"
html_title = f"Celeriac {release}"
html_show_sourcelink = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
nitpicky = True
suppress_warnings = ["misc.highlighting_failure"]
