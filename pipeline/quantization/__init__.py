"""Networks in int8: calibration on clips, quantization, comparison with fp32, bundles of quantized networks."""
