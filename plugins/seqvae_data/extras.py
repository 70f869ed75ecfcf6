"""Heavy libraries, imported late: who lacks one is told which extra to install."""

from importlib import import_module
from types import ModuleType

from seqvae_core.errors import DataError

__all__ = ["require"]


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import a library.

    Args:
        module: its import name.
        extra: the extra of seqvae that brings it.
        purpose: what it is needed for, as the start of a sentence: "reading audio".

    Raises:
        DataError: naming the extra, if the library cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError:
        library = module.partition(".")[0]
        raise DataError(f"{purpose} needs {library}: pip install 'seqvae[{extra}]'") from None
