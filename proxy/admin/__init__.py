"""The operators' port: metrics, health and readiness."""
