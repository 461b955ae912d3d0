"""The built-in engine: OpenAI's and Anthropic's APIs over a Hugging Face model, for trial.

`weights` makes a model directory, `batching` runs the model and `embedding` embeds with it (no
HTTP), `dialects` has the requests and answers of each API, `server` the addresses, `answering`
goes from a request to its answer, `cli` is `azeotrope engine`. Production is vLLM with
`watermark.embed.vllm`.
"""
