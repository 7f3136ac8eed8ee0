"""Parsers, localizers and temporal teachers; label sets, checkpoints, published weights.

Names are imported on first access, because importing torch takes seconds.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
