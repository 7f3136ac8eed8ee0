from .errors import WeightsError
from .locate import bundle_paths, find_file, search_folders, verify_file
from .manifest import DEFAULT_BUNDLE, Bundle, WeightFile, list_bundles, list_files
from .remote.bundles import load_bundle
from .remote.fetch import fetch_file
from .source import ANYWHERE, WeightSource

__all__ = [
    "ANYWHERE",
    "DEFAULT_BUNDLE",
    "Bundle",
    "WeightFile",
    "WeightSource",
    "WeightsError",
    "bundle_paths",
    "fetch_file",
    "find_file",
    "list_bundles",
    "list_files",
    "load_bundle",
    "search_folders",
    "verify_file",
]
