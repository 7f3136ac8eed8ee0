"""Weight files and bundles of other machines: addresses, downloads, the cache of a hub."""
