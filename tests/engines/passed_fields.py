"""Members of vLLM's requests that clients may send, reviewed: none of them touches the mark.

What shapes the answer (sampling, bias, bans, structure) leaves the engine's processors in
place; what shows something shows the client's own prompt and answer, whose log probabilities
are those from before the mark. A field of a new vLLM is in neither list until somebody has
read what it does: then it goes here, or to proxy/dialects/dropped.py with the reason.
"""

# The API's own.
_API = """
    model messages prompt input instructions system metadata user stream stream_options store
    previous_response_id prompt_cache_key service_tier include truncation background
    max_tokens max_completion_tokens max_output_tokens max_tool_calls n echo suffix stop
    stop_sequences seed temperature top_p top_k frequency_penalty presence_penalty logit_bias
    logprobs top_logprobs response_format text reasoning reasoning_effort thinking output_config
    tools tool_choice parallel_tool_calls dimensions encoding_format
"""
# Sampling beyond the API.
_SAMPLING = """
    min_p repetition_penalty length_penalty min_tokens ignore_eos bad_words allowed_token_ids
    stop_token_ids include_stop_str_in_output structured_outputs repetition_detection
    thinking_token_budget
"""
# How the prompt is made. The engine refuses `chat_template` unless its operator allows it.
_PROMPT = """
    add_generation_prompt add_special_tokens chat_template chat_template_kwargs
    continue_final_message documents truncate_prompt_tokens truncation_side padding
    previous_input_messages media_io_kwargs mm_processor_kwargs
"""
# What is shown, of the client's own call.
_SHOWN = """
    include_reasoning skip_special_tokens spaces_between_special_tokens prompt_logprobs
    logprob_token_ids return_token_ids return_tokens_as_token_ids return_token_offsets
    return_prompt_text routed_experts_prompt_start enable_response_messages
    embed_dtype endianness use_activation
"""
# A client's own cache, kept apart from the others'.
_CACHE = "cache_salt"
# Only on paths that the gateway does not serve.
_ELSEWHERE = "mm_payload return_mm_kwargs"

PASSED = frozenset(" ".join((_API, _SAMPLING, _PROMPT, _SHOWN, _CACHE, _ELSEWHERE)).split())
