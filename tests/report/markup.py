"""HTML as a tree, by the standard library's parser, for tests that read the pages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"meta", "link", "img", "input", "br", "hr", "col"}


@dataclass
class Node:
    """An element; ``children`` holds text as well."""

    tag: str
    attributes: dict[str, str]
    children: list[Node | str] = field(default_factory=list)
    parent: Node | None = None

    @property
    def text(self) -> str:
        """All text inside, with single spaces."""
        parts = [child if isinstance(child, str) else child.text for child in self.children]
        return " ".join("".join(parts).split())

    def all(self, *tags: str) -> Iterator[Node]:
        """Every element inside of one of these kinds, or of any, in order."""
        for child in self.children:
            if isinstance(child, Node):
                if not tags or child.tag in tags:
                    yield child
                yield from child.all(*tags)

    def inside(self, tag: str) -> Node | None:
        """The closest element around it of a kind."""
        node = self.parent
        while node is not None and node.tag != tag:
            node = node.parent
        return node


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("", {})
        self.node = self.root

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        made = Node(tag, {name: value or "" for name, value in attrs}, parent=self.node)
        assert len(made.attributes) == len(attrs), f"an attribute twice in <{tag}>"
        self.node.children.append(made)
        if tag not in VOID:
            self.node = made

    def handle_endtag(self, tag: str) -> None:
        assert self.node.tag == tag, f"</{tag}> closes <{self.node.tag}>"
        assert self.node.parent is not None
        self.node = self.node.parent

    def handle_data(self, data: str) -> None:
        self.node.children.append(data)


def parse(text: str) -> Node:
    """The document; AssertionError where elements are not closed in their order."""
    reader = _Reader()
    reader.feed(text)
    reader.close()
    assert reader.node is reader.root, f"<{reader.node.tag}> is never closed"
    return reader.root
