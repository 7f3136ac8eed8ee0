"""Public API of avvp: media files in, event timelines out. Names load on first use; `import avvp` imports no torch."""

import lazy_loader

_load_name, _list_names, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]


def __getattr__(name: str) -> object:
    """Import a public name on first use; `__version__` comes from the installed package."""
    if name == "__version__":
        from importlib.metadata import version

        return version("avvp")
    return _load_name(name)


def __dir__() -> list[str]:
    return [*_list_names(), "__version__"]
