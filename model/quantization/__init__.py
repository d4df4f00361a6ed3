"""Int8 and int4 weights: quantised at load or stored, multiplied by torch's own CPU kernels."""
