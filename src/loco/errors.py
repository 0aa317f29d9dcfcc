"""What can be wrong with a user's input: one short message each, shown without a traceback."""

import signal


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
    """A training that cannot go on, such as one whose loss is no number any more."""


class PredictionsError(LocoError):
    """A file of predictions that cannot be read, or that does not fit the annotations."""


class ExportError(LocoError):
    """A form of predictions that there is not, or a video whose name is no name of a file."""


class OutputError(LocoError):
    """A file that cannot be written, such as on a full disk; none is left half written."""


class IncompleteError(LocoError):
    """Some videos could not be used; what was found in the others is written."""

    exit_code = 3


class Interrupted(BaseException):
    """A signal ended the work; no error, and like KeyboardInterrupt not what `Exception` catches.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number
