"""What kernels for the CPU are made of: vectors as values, functions of them, how they are compiled and run."""
