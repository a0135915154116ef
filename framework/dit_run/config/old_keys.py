"""Old names of keys that are still accepted."""

from __future__ import annotations

from dit_run.config.nodes import MapNode, Scalar
from dit_run.problems import Problem

__all__ = ["rename_old_keys"]


def rename_old_keys(root: MapNode) -> list[Problem]:
    """Store ``data.dataset_name`` under its new name ``type``; return a problem if both are written and differ."""
    data = root.entries.get("data")
    if data is None or not isinstance(data.node, MapNode) or "dataset_name" not in data.node.entries:
        return []
    entries = data.node.entries
    if "type" not in entries:
        data.node.entries = {("type" if key == "dataset_name" else key): entry for key, entry in entries.items()}
        return []
    old, new = entries.pop("dataset_name").node, entries["type"].node
    if not (isinstance(old, Scalar) and isinstance(new, Scalar)) or old.value == new.value:
        return []
    return [
        Problem(
            "two-types",
            f"data.dataset_name is '{old.value}', but data.type is '{new.value}'",
            place=old.span.place(),
            related_places=(new.span.place(),),
            help=("dataset_name is the old name of type: remove one of the two",),
        )
    ]
