"""The documentation as a site: `make docs` builds it into build/docs."""

import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent / "src")]

project = "trim"
author = "the trim authors"
try:
    release = metadata.version("trim-router")
except metadata.PackageNotFoundError:
    release = "0.2.0"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "command_reference",
    "api_reference",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_ext"]
default_role = "code"  # docstrings write `code` as Markdown does

myst_enable_extensions = ["attrs_block", "colon_fence"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_class_signature = "mixed"
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "trim"
html_show_sourcelink = False
html_static_path = []
pygments_style = "friendly"
