"""What a decision of the limiter costs: the gateway's own connection beside redis-py."""
