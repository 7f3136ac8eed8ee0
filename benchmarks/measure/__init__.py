"""Options, inputs, timing, memory readings and started programs that the benchmarks share."""
