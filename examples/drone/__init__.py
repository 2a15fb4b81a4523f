"""A drone's detector on a microcontroller: a small network learns from a large one, then in int8."""
