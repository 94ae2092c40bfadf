"""Sphinx settings: `make docs` builds the pages offline, every example and script executed."""

import logging
import os
import sys
from pathlib import Path

import tighnari_graph

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS / "_ext"), str(DOCS.parent)]

logging.getLogger("tighnari_models").setLevel(logging.ERROR)  # the log is for warnings of Sphinx

project = "tighnari"
author = "the authors of tighnari"
copyright = author
version = release = tighnari_graph.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_nb",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "doc_api",
    "doc_mathml",
    "doc_pages",
    "doc_references",
]
exclude_patterns = ["_ext", "_generated", "gallery", "auto_gallery/*.ipynb"]
suppress_warnings = ["config.cache"]  # settings hold functions, so they are read anew
templates_path: list[str] = []

# Pages with front matter `file_format: mystnb` are notebooks: run at every build, in a folder of
# their own, with the real data at TIGHNARI_DATA if they are there.
os.environ.setdefault("TIGHNARI_DATA", str(DOCS.parents[1] / "shared" / "data"))
os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_execution_in_temp = True
nb_merge_streams = True
myst_enable_extensions = ["attrs_block", "attrs_inline", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4

default_role = "py:obj"  # `name` in a docstring is a link where the reference has the name
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autosummary_generate = False
python_maximum_signature_line_length = 88
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Shapes", "notes_style")]
toc_object_entries_show_parents = "hide"
viewcode_line_numbers = True

sphinx_gallery_conf = {
    "examples_dirs": "gallery",
    "gallery_dirs": "auto_gallery",
    "image_scrapers": ("doc_scraper.figures",),
    "abort_on_example_error": True,
    "run_stale_examples": True,
    "download_all_examples": False,
    "remove_config_comments": True,
    "write_computation_times": False,
    "show_memory": False,
    "notebook_extensions": set(),
    "min_reported_time": 10_000,
    "show_signature": False,
    "subsection_order": ["gallery/paper", "gallery/beyond"],
    "within_subsection_order": "FileNameSortKey",
}

copybutton_prompt_text = "$ "

html_theme = "furo"
html_title = "tighnari"
html_static_path = ["_static"]
html_extra_path = ["_generated/maps"]  # written by the gallery
html_css_files = ["tighnari.css"]
html_math_renderer = "mathml"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#0072b2",
        "color-brand-content": "#0072b2",
    },
    "dark_css_variables": {
        "color-brand-primary": "#56b4e9",
        "color-brand-content": "#56b4e9",
    },
}
