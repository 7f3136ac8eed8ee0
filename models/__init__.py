"""Parsers: MM-Pyr encoder, LEAP decoder, label sets, checkpoints, weight files. Names are loaded when first used."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
