"""Plain implementations of the published programs, which the benchmarks compare ours with."""
