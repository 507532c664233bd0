"""PyTorch and its family: torch.save, Lightning, distributed checkpoints, Stable-Baselines3."""
