//! Tensors as text, the way PyTorch prints them.
