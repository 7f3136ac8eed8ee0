"""Parse under a profile that approximates the one that a bundle's parser was trained on. No torch."""

from __future__ import annotations

from dataclasses import replace

from ...extractors.profiles import PROFILES, get_profile
from ...weights.manifest import Bundle
from ...weights.messages import shown
from ..errors import SetupError


def with_profile(bundle: Bundle, profile: str | None) -> Bundle:
    """Return a bundle whose files are decoded under another profile.

    Args:
        bundle: a bundle with a parser.
        profile: key in `PROFILES`, that of the bundle or one that approximates it; None is that of the bundle.

    Returns:
        The bundle; its warning says that the results are approximations.

    Raises:
        SetupError: the profile does not approximate that of the bundle.
        ValueError: the profile is unknown.
    """
    if profile is None or profile == bundle.profile:
        return bundle
    if bundle.profile not in get_profile(profile).approximates:
        fitting = ", ".join(name for name, other in PROFILES.items() if bundle.profile in other.approximates)
        raise SetupError(
            f"bundle {shown(bundle.name)}: its parser reads features of profile {shown(bundle.profile)}, which"
            f" {profile} does not approximate; profiles that do: {fitting or 'none'}"
        )
    return add_warning(replace(bundle, profile=profile), approximation_warning(bundle.profile, profile))


def approximation_warning(trained_on: str, profile: str) -> str:
    """Return what users of results have to know that a parser made from features of another profile.

    Args:
        trained_on: name of the parser's profile.
        profile: name of the profile of the features.
    """
    return f"approximate: features of profile {profile}, but the parser was trained on profile {trained_on}"


def add_warning(bundle: Bundle, warning: str) -> Bundle:
    """Return a bundle with one more warning, unless it has that one."""
    if warning in (bundle.warning or ""):
        return bundle
    return replace(bundle, warning=warning if bundle.warning is None else f"{bundle.warning}; {warning}")
