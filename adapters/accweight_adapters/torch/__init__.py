"""PyTorch formats: torch.save, Lightning, distributed checkpoints, Stable-Baselines3."""
