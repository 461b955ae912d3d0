"""Where things are, for the engine tests."""

from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PLUGIN = "watermark.embed.vllm:AzeotropeLogitsProcessor"
