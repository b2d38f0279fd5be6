"""An instance that writes down what reaches it: method, target and body of each request.

It marks its answers, so that a client can tell which of its requests reached it. What is said in two
ways, or not as RFC 9112 has it, is written down as such.
"""

import re
import socket
import threading

MARK = b"x-reached"
# What a node asks its instances on its own.
_PROBES = re.compile(rb"/(health|metrics|v1/models|tokenize|version|get_server_info|server_info)\b")
_MODELS = b'{"object":"list","data":[{"id":"sim","object":"model"}]}'


class FramingInstance:
    """Listens until stop(); `address` is host:port."""

    def __init__(self, host="127.0.0.1"):
        self._listener = socket.create_server((host, 0), backlog=64)
        self.address = f"{host}:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self._requests = []
        threading.Thread(target=self._accept, daemon=True).start()

    def take(self):
        """The requests since the last call, as (method, target, body)."""
        with self._lock:
            taken, self._requests = self._requests, []
            return taken

    def stop(self):
        self._listener.close()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        with connection, connection.makefile("rb") as stream:
            try:
                while self._serve_one(connection, stream):
                    pass
            except (OSError, ValueError, OverflowError):
                pass

    def _serve_one(self, connection, stream):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = stream.readline()
            if not line:
                if head:
                    self._write_down(b"CUT", head, b"")
                return False
            head += line
        method, target, version = head.split(b"\r\n", 1)[0].split(b" ")
        if _PROBES.match(target):
            answer = _MODELS if b"models" in target else b""
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                               b"Content-Length: %d\r\n\r\n%s" % (len(answer), answer))
            return True
        lengths = re.findall(rb"\r\ncontent-length:[ \t]*([^\r]*)", head, re.I)
        codings = re.findall(rb"\r\ntransfer-encoding:[ \t]*([^\r]*)", head, re.I)
        if len(lengths) + len(codings) > 1 or [one.lower() for one in codings] not in ([], [b"chunked"]):
            self._write_down(b"AMBIGUOUS", head, b"")
            return False
        body = self._chunks(stream) if codings else stream.read(int(lengths[0]) if lengths else 0)
        self._write_down(method, target, body)
        connection.sendall(b"HTTP/1.1 200 OK\r\n%s: 1\r\nContent-Length: 0\r\n\r\n" % MARK)
        return version == b"HTTP/1.1"

    @staticmethod
    def _chunks(stream):
        body = b""
        while size := int(re.fullmatch(rb"([0-9a-fA-F]+)(;.*)?\r\n", stream.readline())[1], 16):
            body += stream.read(size)
            if stream.read(2) != b"\r\n":
                raise ValueError("a chunk without its end")
        while stream.readline() != b"\r\n":
            pass
        return body

    def _write_down(self, method, target, body):
        target = re.sub(rb"^[a-z]+://[^/?]*/?", b"/", target, flags=re.I)  # absolute form
        with self._lock:
            self._requests.append((method, target, body))
