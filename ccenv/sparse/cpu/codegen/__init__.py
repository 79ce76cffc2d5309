"""What writes the kernels' vector code: intrinsics, micro-kernels, compilation."""
