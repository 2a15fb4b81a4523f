"""PyTorch models: torch.export and torch.fx programs, and one rule an ATen operator."""
