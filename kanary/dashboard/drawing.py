"""SVG for pages: elements with classes, whose colours are those of the style sheet."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from markupsafe import Markup

from states.texts import plain


class Canvas:
    """An SVG element that grows."""

    def __init__(self, width: float, height: float, *, title: str, kind: str) -> None:
        box = {"viewBox": f"0 0 {width:g} {height:g}", "class": kind, "role": "img", "aria-label": plain(title)}
        self.root = ET.Element("svg", box)

    def add(self, tag: str, content: str = "", /, *, to: ET.Element | None = None, **values: float | str) -> ET.Element:
        """Add an element; `_` in the names of attributes stands for `-`, and `kind` for `class`."""
        names = {name: "class" if name == "kind" else name.replace("_", "-") for name in values}
        texts = {names[name]: v if isinstance(v, str) else f"{v:.6g}" for name, v in values.items()}
        element = ET.SubElement(self.root if to is None else to, tag, texts)
        element.text = plain(content) or None
        return element

    def markup(self) -> Markup:
        """The picture as part of a page: its texts are escaped."""
        return Markup(ET.tostring(self.root, encoding="unicode", short_empty_elements=False))  # noqa: S704 -- escaped
