"""Load bundles, predict probabilities, decide with thresholds, build timelines."""
