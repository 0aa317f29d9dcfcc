"""Checkpoints are replaced whole or not at all, whatever ends the process meanwhile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from loco.errors import CheckpointError, OutputError
from loco.files import replacing


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, in the same folder and so the same file system, then renames.

    Lightning's own moves a temporary file from `$TMPDIR`, which between file systems is a copy: a
    process killed in it leaves half a checkpoint, and the one before is gone.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Replace the checkpoint at a path.

        Raises:
            CheckpointError: it cannot be written, such as on a full disk; the one before stays.
        """
        target = Path(path)
        try:
            with replacing(target) as unfinished, unfinished.open("wb") as file:
                torch.save(checkpoint, file)
        except (OutputError, RuntimeError) as error:  # torch makes a RuntimeError of a full disk
            reason = _reason(error)
            kept = "; the checkpoint before it is still there" if target.exists() else ""
            raise CheckpointError(f"{target}: cannot be written: {reason}{kept}") from error


def _reason(error: BaseException) -> str:
    """What the system said, which torch may have made another error of."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.strerror:
            return found.strerror
        found = found.__cause__ or found.__context__
    return str(error).splitlines()[0]
