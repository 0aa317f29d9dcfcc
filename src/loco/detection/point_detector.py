"""What detectors have in common whose nets say something of each point of a pyramid."""

from __future__ import annotations

from torch import Tensor, nn

from loco.detection.assignment import RangeAssigner
from loco.detection.decoding import Decoding
from loco.detection.losses import point_losses
from loco.detection.outputs import PointOutputs
from loco.structures import Batch, Events


class PointDetector(nn.Module):
    """Wires a net (`forward`) with the assigner, the criterion and the decoding it is given.

    A subclass defines `forward`, and sets these four in its constructor.
    """

    assigner: RangeAssigner
    criterion: nn.Module
    decoding: Decoding
    num_classes: int

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """What to minimise is the sum of the entries named `loss_…`; the others are to look at."""
        outputs: PointOutputs = self(batch.visual, batch.audio, batch.mask)
        return self.detection_losses(outputs, batch)

    def detection_losses(self, outputs: PointOutputs, batch: Batch) -> dict[str, Tensor]:
        """Losses of what the net said of a batch, given its events."""
        return point_losses(outputs, batch, self.assigner, self.criterion, self.num_classes)

    def detect(self, batch: Batch) -> list[Events]:
        """Events of each video, by descending score."""
        outputs: PointOutputs = self(batch.visual, batch.audio, batch.mask)
        return self.decoding(*outputs, durations=batch.durations, grid=batch.grid)
