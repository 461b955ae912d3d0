"""The APIs that the engine speaks: each has its requests and the objects of its answers.

`choices` and `choice_objects` are OpenAI's chat completions and completions, `responses` its
responses, `embeddings` its embeddings, `messages` Anthropic's messages.
"""
