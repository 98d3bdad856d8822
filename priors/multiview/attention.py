"""Attention over all views of an object, without new weights: the tokens of its views are one sequence (DiffSplat, 2501.16764)."""

from typing import Any

from diffusers.models.attention_processor import Attention
from torch import Tensor
from torch.nn import functional


class MultiviewProcessor:
    """Self-attention over `views` times as many tokens; cross-attention as it is.

    The number of views comes with every call, as `cross_attention_kwargs={"views": v}` of the U-Net.
    """

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        views: int = 1,
        **unused: Any,
    ) -> Tensor:
        """Tokens `[objects * views, n, channels]` to the same shape."""
        shape = hidden_states.shape
        tokens = hidden_states if encoder_hidden_states is not None else hidden_states.reshape(-1, views * shape[1], shape[2])
        context = tokens if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            each.unflatten(-1, (attn.heads, -1)).transpose(1, 2) for each in (attn.to_q(tokens), attn.to_k(context), attn.to_v(context))
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, scale=attn.scale)
        mixed = attn.to_out[1](attn.to_out[0](mixed.transpose(1, 2).flatten(2).to(tokens.dtype)))
        return mixed.reshape(shape)
