"""What ``config.json`` beside a Hugging Face checkpoint says about its tensors."""
