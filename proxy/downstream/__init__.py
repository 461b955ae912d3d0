"""The clients' side: sockets and heads, bodies within bounds, answers going out.

acceptor.py     one listening socket for all workers, each taking a connection at a time
descriptors.py  how many connections there may be
connection.py   one client's connection: what it may send, and hold
listener.py     aiohttp's low-level server around them, and its drain
head.py         heads that two readers could read in two ways are refused
exchange.py     one request and its answer
answering.py    the bytes of an answer
"""
