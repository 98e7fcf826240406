"""How Sphinx builds the site: `make docs`."""

from __future__ import annotations

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

from hangar_git import __version__

project = "hangar_git"
author = "The hangar_git developers"
copyright = f"2026, {author}"  # noqa: A001  # the name is Sphinx's
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "numpydoc",
    "sphinx_copybutton",
]
exclude_patterns = ["man", "completion"]
source_suffix = {".md": "markdown"}
nitpicky = True

# Headings can be linked to as on a Git host.
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]
suppress_warnings = ["myst.xref_missing_external"]

html_theme = "furo"
html_title = f"hangar_git {release}"
html_static_path = ["site"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}

# Copied without prompts, and without what is printed.
copybutton_prompt_text = r"\$ |> "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True
copybutton_exclude = ".linenos, .go"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
numpydoc_show_class_members = False
autosummary_generate = False
# A name in backquotes is a link where it is one of ours, else code: most are parameters.
default_role = "py:obj"
add_module_names = False
toc_object_entries_show_parents = "hide"
nitpick_ignore_regex = [
    ("py:obj", r".*"),
    ("py:class", r"(collections|numpy|os)\..*"),
    ("py:class", r"(hangar_git\..*\.)?(A|ArraysetBase|GitRepository|Torch\w+|Transform)"),
]


def setup(app: Sphinx) -> None:
    """Tell Sphinx of what Pygments does not know."""
    app.add_lexer("hex", TextLexer)
