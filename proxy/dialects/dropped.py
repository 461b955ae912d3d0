"""Members of a request that no client may send.

Arguments of an engine's processors, through which a request could choose, weaken or
switch off its mark, or reach an answer that no processor has seen. A client's own are
dropped, not refused: a client that sends them by habit keeps working.
"""

DROPPED = frozenset(
    {
        "azeotrope",
        "custom_logit_processor",  # SGLang: code from the request
        "custom_params",  # SGLang: arguments of that code
        "ec_transfer_params",  # vLLM: encoder cache taken from another request
        "extra_args",
        "extra_body",
        "kv_transfer_params",  # vLLM: cache taken from another engine
        "logits_processor",
        "logits_processors",
        "sampling_params",
        "use_beam_search",  # vLLM: searches by log probabilities from before the processors
        "vllm_xargs",
        "watermark",  # SGLang: a key of the client's choice
        "watermarking",  # vLLM: `false` switches its own mark off
    }
)
