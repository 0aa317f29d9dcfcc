"""What can be wrong with a user's input: one short message each, shown without a traceback."""

import math
import numbers
import signal
from collections.abc import Sequence


class LocoError(Exception):
    """Base of every error that a user can cause and mend; entry points print its message alone."""

    exit_code = 1


class SettingError(LocoError):
    """A value of the configuration that cannot be meant."""


class AnnotationError(LocoError):
    """An annotation file that cannot be read: names the file, the video and the field."""


class FeatureError(LocoError):
    """A feature file that is missing or unusable: names the video and the file."""


class VideoError(LocoError):
    """A video that cannot be read or used: names the file, what was expected, what was found."""


class CheckpointError(LocoError):
    """A checkpoint that is missing or does not fit what is asked of it."""


class TrainingError(LocoError):
    """A training that cannot go on, such as one whose loss became NaN or infinite."""


class ModelError(LocoError):
    """A model whose outputs are not all numbers: names which."""


class PredictionsError(LocoError):
    """A file of predictions that cannot be read, or that does not fit the annotations."""


class ExportError(LocoError):
    """An unknown format of predictions, or a video whose name cannot be the name of a file."""


class OutputError(LocoError):
    """A file that cannot be written, such as on a full disk; none is left half written."""


class IncompleteError(LocoError):
    """Some videos could not be used; what was found in the others is written."""

    exit_code = 3


def listed(names: Sequence[str], most: int) -> str:
    """Names in a line; of more than `most` the first ones, and how many there are beside them."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def system_reason(error: OSError) -> str:
    """What the system said of which file, without its number."""
    if not error.strerror:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


class Interrupted(BaseException):
    """A signal ended the work; no error, and like KeyboardInterrupt not what `Exception` catches.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


MAX_LAYERS = 1000
"""Of one kind in a net: far more than any has. Without a limit a slip is built for ever."""
MAX_LEVELS = 24
"""Of a pyramid, whose coarsest step is then some 30 days long."""


def check_number(
    name: str,
    value: object,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    whole: bool = False,
    without: str = "",
) -> None:
    """Refuse what is no finite number of a range, as every constructor does with its settings.

    Args:
        name: of the setting, for the message.
        value: what is checked.
        low: the least value.
        high: the greatest value.
        whole: whether it must be a whole number.
        without: "low", "high" or both, "low high": ends that are not allowed themselves.

    Raises:
        ValueError: says what is expected.
    """
    kind = numbers.Integral if whole else numbers.Real
    number = float(value) if isinstance(value, kind) and not isinstance(value, bool) else math.nan
    if math.isfinite(number):
        above = number > low if "low" in without else number >= low
        below = number < high if "high" in without else number <= high
        if above and below:
            return
    expected = "a whole number" if whole else "a number"
    if math.isfinite(high):
        left, right = "(" if "low" in without else "[", ")" if "high" in without else "]"
        expected = f"in {left}{low:g}, {high:g}{right}" + (" and whole" if whole else "")
    elif "low" in without and low == 0:
        expected = "positive" + (" and whole" if whole else "")
    elif math.isfinite(low):
        expected = f"at least {low:g}" + (" and whole" if whole else "")
    raise ValueError(f"{name} must be {expected}, got {value!r}")
