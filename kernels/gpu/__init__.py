"""The rasterizer for NVIDIA GPUs: CUDA kernels, compiled when first used, as operations of an XLA program."""
