"""Models as people write them in PyTorch, with the step that trains them."""
