"""How Sphinx builds these pages: MyST for the text, furo for the looks, autodoc for the public names."""

from __future__ import annotations

from oobdump._version import __version__

project = "oobdump"
author = "The oobdump contributors"
copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True

# Made by tools/gen_reference.py and included by the pages beside them.
exclude_patterns = ["_build", "reference/_generated"]
nitpicky = False  # annotations name private type aliases, which have no page

html_theme = "furo"
html_title = f"oobdump {release}"
html_theme_options = {"navigation_with_keys": True}
