"""`azeotrope demo`: the main job, end to end, on a real model."""

from proxy.demo.cli import demo

__all__ = ["demo"]
