"""Networks of a bundle as files of other programs: torch.export, ONNX, OpenVINO."""
