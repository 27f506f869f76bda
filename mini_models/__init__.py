"""Mini Models: BERT, DALL-E and GPT-3 at a size that anyone can train, and equal to the real ones.

Import from the module that names the idea, as in
`from mini_models.attention import MultiHeadAttention`.
"""

__version__ = "0.1.0"
