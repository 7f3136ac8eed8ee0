"""What computes the extractors' networks: PyTorch, or OpenVINO on a CPU."""
