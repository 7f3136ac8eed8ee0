"""What `avvp doctor` finds out: versions, devices, decoders, weight files, and how fast this machine is."""
