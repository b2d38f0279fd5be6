"""The table of framing and smuggling cases of tests/net/wire_cases, whose README.md has its form."""

import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "net" / "wire_cases"
_NAMES = {
    b"post": b"POST /v1/x HTTP/1.1\r\nHost: a\r\n",
    b"head": b"GET /v1/x HTTP/1.1\r\nHost: a\r\n",
    b"get": b"GET /v1/y HTTP/1.1\r\nHost: a\r\n\r\n",
    b"chunked": b"Transfer-Encoding: chunked\r\n\r\n",
}
_ESCAPES = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}


def _unescaped(text):
    return re.sub(rb"\\(x[0-9a-f]{2}|.)",
                  lambda found: (bytes.fromhex(found[1][1:].decode()) if len(found[1]) == 3
                                 else _ESCAPES[found[1]]), text)


def _bytes_of(text):
    sent = b""
    for outside, inside in re.findall(rb"([^<]*)(?:<([^>]*)>)?", text):
        sent += _unescaped(outside)
        if b"*" in inside:
            count, piece = inside.split(b"*", 1)
            sent += int(count) * _unescaped(piece)
        elif inside:
            sent += _NAMES[inside]
    return sent


def wire_cases():
    """{"file: name": bytes}, in the order of the table."""
    cases, name = {}, None
    for path in sorted(FOLDER.glob("*.txt")):
        for line in path.read_bytes().split(b"\n"):
            if line.startswith(b"case "):
                name = f"{path.stem}: {line[5:].split(b'  [')[0].decode()}"
                cases[name] = b""
            elif line.startswith(b"> "):
                cases[name] += _bytes_of(line[2:])
    return cases
