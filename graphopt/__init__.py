"""graphopt: a compiler that takes a trained network down to small, fast, proven code for the edge."""
