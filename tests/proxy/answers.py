"""Answers of upstreams, odd but legal, and such that two readers could read in two ways."""

from __future__ import annotations

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"

# Bytes, status, body; they end with the connection where no length or chunk ends them.
LEGAL: dict[str, tuple[bytes, int, bytes]] = {
    "plain": (OK + b"content-length: 2\r\n\r\nhi", 200, b"hi"),
    "empty": (OK + b"Content-Length:0\r\n\r\n", 200, b""),
    "no reason": (b"HTTP/1.1 200 \r\ncontent-length: 2\r\n\r\nhi", 200, b"hi"),
    "reason in UTF-8": (
        "HTTP/1.1 200 Très bien\r\ncontent-length: 2\r\n\r\nhi".encode(),
        200,
        b"hi",
    ),
    "space around a value": (OK + b"content-length: \t 2 \t\r\n\r\nhi", 200, b"hi"),
    "obs-text": (OK + b"x: \xe9\xff\r\ncontent-length: 2\r\n\r\nhi", 200, b"hi"),
    "empty value": (OK + b"x:\r\ncontent-length: 2\r\n\r\nhi", 200, b"hi"),
    "chunks": (CHUNKED + b"1\r\nh\r\n1\r\ni\r\n0\r\n\r\n", 200, b"hi"),
    "chunk size in capitals": (CHUNKED + b"0A\r\n0123456789\r\n0\r\n\r\n", 200, b"0123456789"),
    "chunk extensions": (CHUNKED + b'2;a;b=c;d="e f"\r\nhi\r\n0;x\r\n\r\n', 200, b"hi"),
    "trailers": (CHUNKED + b"2\r\nhi\r\n0\r\ndigest: x\r\nx-y: z\r\n\r\n", 200, b"hi"),
    "long last chunk": (CHUNKED + b"2\r\nhi\r\n00000\r\n\r\n", 200, b"hi"),
    "Chunked in capitals": (
        OK + b"Transfer-Encoding: Chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        200,
        b"hi",
    ),
    "chunks like a head": (
        CHUNKED + b"13\r\n\r\nHTTP/1.1 200 OK\r\n\r\n0\r\n\r\n",
        200,
        b"\r\nHTTP/1.1 200 OK\r\n",
    ),
    "until the end": (OK + b"content-type: text/plain\r\n\r\nhi", 200, b"hi"),
    "nothing until the end": (OK + b"\r\n", 200, b""),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\nhi", 200, b"hi"),
    "HTTP/1.0 with a length": (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", 200, b"hi"),
    "close": (OK + b"connection: close\r\ncontent-length: 2\r\n\r\nhi", 200, b"hi"),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    "304 with a length": (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", 304, b""),
    "100 before": (
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"content-length: 2\r\n\r\nhi",
        200,
        b"hi",
    ),
    "103 with headers before": (
        b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + OK + b"content-length: 2\r\n\r\nhi",
        200,
        b"hi",
    ),
    "500 with a body": (b"HTTP/1.1 500 Oops\r\ncontent-length: 2\r\n\r\nno", 500, b"no"),
}

ILLEGAL: dict[str, bytes] = {
    "length and chunks": OK
    + b"content-length: 2\r\n"
    + CHUNKED[len(OK) :]
    + b"2\r\nhi\r\n0\r\n\r\n",
    "chunks and length": OK
    + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "two lengths": OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\nhi!",
    "one length twice": OK + b"content-length: 2\r\ncontent-length: 2\r\n\r\nhi",
    "list of lengths": OK + b"content-length: 2, 2\r\n\r\nhi",
    "signed length": OK + b"content-length: +2\r\n\r\nhi",
    "negative length": OK + b"content-length: -2\r\n\r\nhi",
    "length in hexadecimal": OK + b"content-length: 0x2\r\n\r\nhi",
    "no length": OK + b"content-length:\r\n\r\nhi",
    "huge length": OK + b"content-length: 99999999999999999999\r\n\r\nhi",
    "space before colon": OK + b"content-length : 2\r\n\r\nhi",
    "folded header": OK + b"x: a\r\n b\r\ncontent-length: 2\r\n\r\nhi",
    "header without colon": OK + b"x\r\ncontent-length: 2\r\n\r\nhi",
    "header without name": OK + b": x\r\ncontent-length: 2\r\n\r\nhi",
    "NUL in a value": OK + b"x: a\0b\r\ncontent-length: 2\r\n\r\nhi",
    "CR in a value": OK + b"x: a\rb\r\ncontent-length: 2\r\n\r\nhi",
    "bare LF": b"HTTP/1.1 200 OK\ncontent-length: 2\n\nhi",
    "gzip chunks": OK + b"transfer-encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "gzip alone": OK + b"transfer-encoding: gzip\r\n\r\nhi",
    "identity": OK + b"transfer-encoding: identity\r\n\r\nhi",
    "chunked twice": OK + b"transfer-encoding: chunked\r\n" + CHUNKED[len(OK) :] + b"0\r\n\r\n",
    "chunk size with 0x": CHUNKED + b"0x2\r\nhi\r\n0\r\n\r\n",
    "negative chunk size": CHUNKED + b"-2\r\nhi\r\n0\r\n\r\n",
    "huge chunk size": CHUNKED + b"fffffffffffffffff\r\nhi\r\n0\r\n\r\n",
    "no chunk size": CHUNKED + b"\r\nhi\r\n0\r\n\r\n",
    "chunk longer than its size": CHUNKED + b"2\r\nhi!\r\n0\r\n\r\n",
    "chunk ended by LF": CHUNKED + b"2\nhi\n0\n\n",
    "switched protocols": b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nhi",
    "101 without an upgrade": b"HTTP/1.1 101 Switching\r\n\r\nhi",
    "HTTP/2": b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    "HTTP/0.9": b"hi",
    "another protocol": b"RTSP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi",
    "status of two digits": b"HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\nhi",
    "status of four digits": b"HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\nhi",
    "status beyond 599": b"HTTP/1.1 999 OK\r\ncontent-length: 2\r\n\r\nhi",
    "many headers": OK + b"a: b\r\n" * 129 + b"content-length: 2\r\n\r\nhi",
    "large header": OK + b"a: " + b"b" * 70_000 + b"\r\ncontent-length: 2\r\n\r\nhi",
    "flood of interim answers": b"HTTP/1.1 100 Continue\r\n\r\n" * 9
    + OK
    + b"content-length: 2\r\n\r\nhi",
    "shorter than its length": OK + b"content-length: 3\r\n\r\nhi",
    "chunks without end": CHUNKED + b"2\r\nhi\r\n",
    "chunk broken off": CHUNKED + b"5\r\nhi",
    "trailers without end": CHUNKED + b"2\r\nhi\r\n0\r\nx: y\r\n",
    "head broken off": OK + b"content-le",
    "nothing": b"",
}
