"""The built-in engine: OpenAI's two generation endpoints over a Hugging Face model, for trial and tests.

`weights` makes a model directory, `batching` runs the model (no HTTP), `server` speaks OpenAI's
protocol, `cli` is `azeotrope engine`. Production is vLLM with `watermark.embed.vllm`.
"""
