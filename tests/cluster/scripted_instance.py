"""An instance of the OpenAI API that misbehaves as it is told, from one moment to the next."""

import json
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cluster import MODEL


class ScriptedInstance:
    """`mode`: ok, a status ("503"), hang, or reset. Probes are always answered well."""

    def __init__(self, mode):
        self.mode = mode
        self.requests = 0
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def address(self):
        return "127.0.0.1:%d" % self._server.server_address[1]

    def stop(self):
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self):
        instance = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):  # pylint: disable=invalid-name
                if self.path == "/v1/models":
                    return self.answer(200, {"object": "list", "data": [{"id": MODEL}]})
                return self.answer(200 if self.path == "/health" else 404, {})

            def do_POST(self):  # pylint: disable=invalid-name
                self.rfile.read(int(self.headers["Content-Length"]))
                with instance._lock:
                    instance.requests += 1
                mode = instance.mode
                if mode == "ok":
                    return self.answer(200, {"choices": [{"message": {"content": "ok"}}]})
                if mode.isdigit():
                    return self.answer(int(mode), {"error": {"message": "mine"}})
                if mode == "hang":
                    instance._stopped.wait(20.0)
                else:  # RST, not FIN
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                               struct.pack("ii", 1, 0))
                self.close_connection = True
                return None

            def answer(self, status, body):
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        return Handler
