"""A graph of steps or jobs as DOT, Mermaid, or plain values for JSON. Pure: nodes and edges in, lines out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..text import escaped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from ..answers import GraphEdge, GraphNode

_SHAPES = {"step": "box", "job": "box", "group": "oval", "source": "note"}
_BRACKETS = {"step": ("[", "]"), "job": ("[", "]"), "group": ("([", "])"), "source": ("[/", "/]")}


def dot(nodes: Sequence[GraphNode], edges: Sequence[GraphEdge]) -> Iterator[str]:
    """Lines of a DOT digraph, from left to right in the order of work."""
    numbers = {node.id: f"n{at}" for at, node in enumerate(nodes)}
    yield "digraph duct {"
    yield "  rankdir=LR;"
    yield '  node [fontname="Helvetica", fontsize=11];'
    for node in nodes:
        label = "\\n".join(_dot_text(line) for line in _label(node))
        style = ", style=dashed" if node.kind == "group" else ""
        yield f'  {numbers[node.id]} [label="{label}", shape={_SHAPES.get(node.kind, "box")}{style}];'
    for edge in edges:
        style = " [style=dashed]" if edge.order else ""
        yield f"  {numbers[edge.start]} -> {numbers[edge.end]}{style};"
    yield "}"


def mermaid(nodes: Sequence[GraphNode], edges: Sequence[GraphEdge]) -> Iterator[str]:
    """Lines of a Mermaid flowchart."""
    numbers = {node.id: f"n{at}" for at, node in enumerate(nodes)}
    yield "flowchart LR"
    for node in nodes:
        left, right = _BRACKETS.get(node.kind, ("[", "]"))
        label = "<br/>".join(_mermaid_text(line) for line in _label(node))
        yield f'  {numbers[node.id]}{left}"{label}"{right}'
    for edge in edges:
        yield f"  {numbers[edge.start]} {'-.->' if edge.order else '-->'} {numbers[edge.end]}"


def node_values(nodes: Sequence[GraphNode]) -> list[dict[str, Any]]:
    return [{"id": node.id, "label": node.label, "kind": node.kind, "count": node.stands_for} for node in nodes]


def edge_values(edges: Sequence[GraphEdge]) -> list[dict[str, Any]]:
    return [{"start": edge.start, "end": edge.end, "order": edge.order} for edge in edges]


def _label(node: GraphNode) -> list[str]:
    what = "files" if node.kind == "source" else "jobs"
    return [node.label, f"{node.stands_for:,} {what}"] if node.stands_for > 1 else [node.label]


def _dot_text(text: str) -> str:
    return escaped(text).replace("\\", "\\\\").replace('"', '\\"')


def _mermaid_text(text: str) -> str:
    return escaped(text).replace("&", "#amp;").replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
