"""Weight files: the manifest, search folders, downloads and verification.

Names are imported on first access: every command imports modules of this package, few need downloads.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
