"""From features to probabilities to a timeline: bundles, prediction, thresholds."""
