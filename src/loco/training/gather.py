"""What the processes of a training exchange."""

from __future__ import annotations

from typing import Any

from torch import distributed


def merged(part: dict[str, Any]) -> dict[str, Any]:
    """The entries of the same dict in all processes; every process must call it."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return part
    parts: list[dict[str, Any]] = [{} for _ in range(distributed.get_world_size())]
    distributed.all_gather_object(parts, part)
    return {key: value for of_one in parts for key, value in of_one.items()}
