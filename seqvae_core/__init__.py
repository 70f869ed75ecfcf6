"""The core of seqvae: sequential VAEs whose every part comes from a plugin.

The public names stand in `__init__.pyi`; each is imported when it is first asked for (PEP 562).
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
