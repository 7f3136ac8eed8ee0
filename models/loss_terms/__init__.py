"""Loss terms: functions of tensors alone, without a network."""
