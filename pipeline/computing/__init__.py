"""Choice of what networks compute with: measurements of this machine, remembered, and the fastest that is as exact."""
