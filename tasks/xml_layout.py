"""The layout of XML files that the program writes."""

from __future__ import annotations

from xml.etree import ElementTree


def indent(element: ElementTree.Element, depth: int = 0) -> None:
    """Line breaks for people; ElementTree has its own only from Python 3.9 on."""
    children = list(element)
    if children:
        element.text = "\n" + "  " * (depth + 1)
        for child in children:
            indent(child, depth + 1)
            child.tail = "\n" + "  " * (depth + 1)
        children[-1].tail = "\n" + "  " * depth
