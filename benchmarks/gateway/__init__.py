"""The gateway beside other proxies: CPU, latency and memory, in one run, before one upstream."""
