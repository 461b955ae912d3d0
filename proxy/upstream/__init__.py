"""The engines behind the gateway: which one gets a call, and the call itself.

routes      model -> Route; a Route picks an upstream and tries another if none can be reached
endpoint    one upstream: retries, breaker, number of calls
health      looks at it every few seconds
pool        its idle connections, TLS
connection  HTTP/1.1 within bounds of bytes and time
head        what an answer's head must look like
answer      an answer whose head has come

Every failure becomes a CallError that names no address.
"""

from proxy.upstream.answer import Answer
from proxy.upstream.endpoint import Endpoint
from proxy.upstream.health import Watcher
from proxy.upstream.pool import tls_context
from proxy.upstream.routes import Route, Routes, routes_of

__all__ = ["Answer", "Endpoint", "Route", "Routes", "Watcher", "routes_of", "tls_context"]
