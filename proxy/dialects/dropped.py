"""Members of a request that no client may send, for all dialects and engines, each with its reason.

Through them a request could choose, weaken or switch off its mark, be answered without it,
see the mark at work, reach what belongs to other clients, or lead the engine elsewhere. A
client's own are dropped, not refused: a client that sends them by habit keeps working.
What vLLM's requests may hold beside these is reviewed in tests/engines/passed_fields.py.
"""

DROPPED = frozenset(
    {
        # Arguments of logits processors: the ticket's place, and code of the client's choice.
        "azeotrope",
        "custom_logit_processor",  # SGLang: code from the request
        "custom_params",  # SGLang: arguments of that code
        "extra_args",
        "extra_body",
        "logits_processor",
        "logits_processors",
        "sampling_params",  # vLLM and SGLang: all of the above, one level deeper
        "vllm_xargs",
        # The engines' own marks: `false` switches them off, or the key is the client's.
        "watermark",  # SGLang
        "watermarking",  # vLLM
        # Answers that no processor has seen.
        "ec_transfer_params",  # vLLM: encoder cache taken from another request
        "kv_transfer_params",  # vLLM: cache taken from another engine
        "prompt_embeds",  # vLLM: a prompt without tokens, so the first words have no context
        "use_beam_search",  # vLLM: searches by log probabilities from before the processors
        # What shows the mark at work, or the model from inside.
        "post_sampling_probs",  # llama.cpp: probabilities after all that was done to them
        "return_hidden_states",  # SGLang: states from which all logits can be had, unmarked
        # Other clients' state.
        "id_slot",  # llama.cpp: the slot that serves, and the cache of whoever had it before
        "priority",  # vLLM, SGLang: first in the queue, before everybody else
        "request_id",  # vLLM: stored answers are found by it, so it could replace another's
        "rid",  # SGLang: the same
        "session_id",  # vLLM: cache and placement shared under a name
        "session_params",  # SGLang: the same
        # Another model than the one that was asked for, and allowed.
        "lora",  # llama.cpp: strength of each adapter
        "lora_path",  # SGLang: which adapter
        # Where the engine turns to.
        "bootstrap_host",  # SGLang: an address that it connects to
        "bootstrap_port",
        "bootstrap_room",
        "data_parallel_rank",  # SGLang, vLLM: one replica of the client's choice
        "disagg_prefill_dp_rank",
        "routed_dp_rank",
        # Several tokens in one event: tokens of a stream that is hung up are counted by events.
        "stream_interval",  # vLLM
    }
)
