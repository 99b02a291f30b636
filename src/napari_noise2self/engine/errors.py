"""The errors a caller can meet; each says what was given, expected and to be done."""


class Noise2SelfError(Exception):
    """Base class of every error this package raises on purpose.

    It does not derive from `RuntimeError`: a generator worker of napari
    swallows those without a word.
    """


class InputError(Noise2SelfError, ValueError):
    """The image, its axes or a setting cannot be used as given."""


class OutputError(Noise2SelfError):
    """The result cannot be written where it was to go."""


class DeviceError(Noise2SelfError):
    """The requested device is missing, or PyTorch cannot be loaded."""


class OutOfMemoryError(Noise2SelfError):
    """The device or the host ran out of memory even with the smallest pieces."""


class EngineError(Noise2SelfError):
    """PyTorch failed while training or predicting."""


class ModelFileError(Noise2SelfError):
    """A file is not a model of this package, or cannot be read as one."""


class ClusterError(Noise2SelfError):
    """The machines that were to share the work cannot do it, or cannot be reached."""


class DownloadError(Noise2SelfError):
    """What was asked for could not be fetched from the network."""


def counted(count: int, noun: str) -> str:
    """A number of something in words, such as "1 pixel" or "4,200 pixels"."""
    return f"1 {noun}" if count == 1 else f"{count:,} {noun}s"


def first_line(error: BaseException) -> str:
    """What an error says, without what follows its first line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
