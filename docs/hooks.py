"""Turns the equations of the pages into MathML, which browsers draw without scripts."""

import html
import re
from typing import Any

from latex2mathml.converter import convert

EQUATION = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content: str, **_: Any) -> str:
    """Replace what arithmatex marked, inline or displayed."""
    return EQUATION.sub(
        lambda match: convert(html.unescape(match[2]), display="inline" if match[1] == "span" else "block"),
        content,
    )
