"""Pretrained: real models, trained by others, whose numbers ours must equal."""
