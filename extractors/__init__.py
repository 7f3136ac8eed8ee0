"""Feature extractors (VGGish, ResNet, R(2+1)D) and the profiles that define their inputs.

Names are imported on first access, because importing torch takes seconds.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
