"""Thresholds of open bundles by annotated clips: chosen through the rule that decides, checked on clips left out."""
