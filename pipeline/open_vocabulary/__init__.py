"""Any classes by their names, without training: class lists, background, rules that decide from similarities."""
