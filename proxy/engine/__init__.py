"""The built-in engine: OpenAI's generation endpoints over a Hugging Face model, for trial.

`weights` makes a model directory, `batching` runs the model (no HTTP), `server` speaks OpenAI's
protocol, `cli` is `azeotrope engine`. Production is vLLM with `watermark.embed.vllm`.
"""
