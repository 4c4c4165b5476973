//! Files: weights to and from safetensors, under PyTorch's names.
