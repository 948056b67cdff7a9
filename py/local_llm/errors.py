"""Every error that this package raises on purpose. Each says what was wanted, what was found, what to do.

LocalLLMError
  InvalidRequest        an argument is out of range or unknown
  WebGPUUnavailable     no adapter or no device; carries the remedy
  DeviceLost            the GPU device went away while it was in use
  GPUFault              a command was rejected by WebGPU's validation: a defect of this package
  OutOfMemory           needed, available
  DownloadFailed        url, status
  StorageFull           wanted, free, what could be deleted
  ModelError
    UnknownModel        id, nearest ids
    UnsupportedModel    architecture or quantization, and what is supported
    CorruptModel        file, offset, what was expected
    ContextOverflow     more tokens than the cache holds
  NotReady              called before init
  Busy                  a generation is running
"""


class LocalLLMError(Exception):
    """Base of all errors here. `str(error)` is one sentence for a person; `remedy` says what to do."""

    remedy = ""

    def __init__(self, message: str, *, remedy: str = "") -> None:
        self.message = message
        self.remedy = remedy or self.remedy
        super().__init__(f"{message} {self.remedy}".strip())


class InvalidRequest(LocalLLMError):
    """An argument is out of its range, of the wrong type, or has no meaning here."""


class WebGPUUnavailable(LocalLLMError):
    """No adapter or device can be had; `remedy` says how to get one in this browser."""


class DeviceLost(LocalLLMError):
    """The GPU device went away (driver reset, sleep, GPU process crash)."""

    remedy = "Load the model again."


class GPUFault(LocalLLMError):
    """WebGPU's validation rejected a command; the message is the implementation's own."""

    remedy = "This is a defect of local_llm: please report it with the adapter's name."


class OutOfMemory(LocalLLMError):
    """The GPU refused an allocation."""

    remedy = "Choose a smaller context_size or a smaller model, or close other GPU pages."


class DownloadFailed(LocalLLMError):
    """Bytes could not be read from a URL or a file.

    absent: there is no such file, as the server or the disk says; not that it could not be asked. status: the server's
    answer, 0 where there is none or the host does not tell it.
    """

    def __init__(self, message: str, *, remedy: str = "", absent: bool = False, status: int = 0) -> None:
        super().__init__(message, remedy=remedy)
        self.absent = absent
        self.status = status


class StorageFull(LocalLLMError):
    """This device has no room for a model's file; the remedy names models that could be deleted.

    missing: bytes, 0 where nobody knows.
    """

    def __init__(self, message: str, *, remedy: str = "", missing: int = 0) -> None:
        super().__init__(message, remedy=remedy)
        self.missing = missing


class ModelError(LocalLLMError):
    """The model cannot be used."""


class UnknownModel(ModelError):
    """No model of this id; the message lists the nearest ids."""


class UnsupportedModel(ModelError):
    """The file is sound, but its architecture, tokenizer or tensor type is not supported."""


class CorruptModel(ModelError):
    """The file contradicts itself or its format."""


class ContextOverflow(ModelError):
    """More tokens than the key-value cache has room for."""


class NotReady(LocalLLMError):
    """A model must be loaded first."""

    remedy = "Call init() and await it first."


class Busy(LocalLLMError):
    """A generation is running."""

    remedy = "Await it, or stop it with interrupt()."
