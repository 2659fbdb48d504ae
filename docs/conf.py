"""Settings of the documentation site; `make docs` builds it.

Its root is the repository's, so that a link between any two pages works on the site and in a file browser alike.
"""

from __future__ import annotations

import inspect
import json
import re
from importlib import metadata
from pydoc import locate
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import fdsl

project = "fdsl"
copyright = "the fdsl developers"
release = metadata.version("fdsl")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
root_doc = "docs/index"
include_patterns = ["CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md", "docs/*.md", "trainer/README.md"]
exclude_patterns = [".*", "build", "data", "docs/_build", "runs"]

nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!fdsl\.\w+$).*")
]  # names of Python and of other packages, whose sites are not read
myst_heading_anchors = 3

autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
default_role = "code"
smartquotes = False  # options begin with two hyphens
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"fdsl {release}"
html_copy_source = False
html_extra_path = ["site/index.html"]
html_static_path = ["site/style.css"]
html_css_files = ["style.css"]


def split_entries(*event: Any) -> None:
    """Put the text of each `name : text` on the next line.

    There napoleon expects a description.
    """
    lines: list[str] = event[-1]
    lines[:] = re.sub(r"^(\w[\w, ]*) : (.+)", r"\1\n    \2", "\n".join(lines), flags=re.MULTILINE).split("\n")


def find_public_name(app: Any, env: Any, node: Any, text: Any) -> Any:
    """Return the link to a public name.

    Annotations name it by its module.
    """
    name = node["reftarget"].rpartition(".")[2]
    if node.get("refdomain") != "py" or name not in fdsl.__all__:
        return None
    return env.domains["py"].resolve_xref(env, node["refdoc"], app.builder, "obj", f"fdsl.{name}", node, text)


def leave_out(_app: Any, _what: str, _name: str, member: Any, *_rest: Any) -> bool | None:
    """Leave out what Python writes about the fields of named tuples."""
    return True if str(getattr(member, "__doc__", "")).startswith("Alias for field number") else None


class Keys(SphinxDirective):
    """A table of the keys of a model.

    Values and defaults are those of its fields, meanings those of its docstring.
    """

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the table."""
        model = locate(self.arguments[0])
        schema = model.model_json_schema()
        meanings = dict(re.findall(r"^(\w+) : ((?:.|\n    )+)", inspect.getdoc(model) or "", re.MULTILINE))
        lines = ["| key | type | default | meaning |", "|---|---|---|---|"]
        for name, field in schema["properties"].items():
            required = name in schema.get("required", ())
            default = "required" if required else f"`{json.dumps(field['default'])}`" if "default" in field else ""
            meaning = re.sub(r"^[\d.,]+ ?\.\. ?[\d,*]+(?: - 1)?(?:; |$)", "", " ".join(meanings[name].split()))
            lines.append(f"| `{name}` | {kind(field)} | {default} | {meaning} |")
        return self.parse_text_to_nodes("\n".join(lines))


def kind(field: dict[str, Any]) -> str:
    """Return a schema's type and limits, in words."""
    if "enum" in field:
        return " or ".join(f"`{value}`" for value in field["enum"])
    if "prefixItems" in field:
        return f"[lowest, highest]: {kind(field['prefixItems'][0])}"
    if "items" in field:
        return f"list of {kind(field['items'])}"
    if "anyOf" in field or field.get("type") == "number":
        name = "number"
    else:
        name = {"integer": "whole number", "string": "text"}.get(field.get("type", ""), "mapping")
    highest = "2^64 - 1" if field.get("maximum") == 2**64 - 1 else f"{field.get('maximum', 0):,}"
    limits = f", {field['minimum']:,} .. {highest}" if "maximum" in field else ""
    return name + limits


def setup(app: Any) -> None:
    """Connect the functions above."""
    app.add_directive("keys", Keys)
    app.connect("autodoc-process-docstring", split_entries, priority=100)
    app.connect("autodoc-skip-member", leave_out)
    app.connect("missing-reference", find_public_name)
