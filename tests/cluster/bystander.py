"""An ordinary client beside a flood: one kept-alive connection, one chat after the other."""

import http.client
import json
import threading
import time

from cluster import chat_body


class Bystander:
    """Use as a context manager; afterwards `failures` and `latencies_s` say how it went."""

    def __init__(self, address, pause_s=0.01):
        self._host, port = address.rsplit(":", 1)
        self._port = int(port)
        self._pause_s = pause_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.latencies_s = []
        self.failures = []

    def __enter__(self):
        self._thread.start()
        while not self.latencies_s and not self.failures:
            time.sleep(0.01)
        return self

    def __exit__(self, *error):
        while len(self.latencies_s) < 5 and not self.failures:
            time.sleep(0.01)  # a short flood: what it leaves behind counts, too
        self._stopping.set()
        self._thread.join(60.0)

    def _run(self):
        connection = http.client.HTTPConnection(self._host, self._port, timeout=30.0)
        body = json.dumps(chat_body("an ordinary request"))
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                connection.request("POST", "/v1/chat/completions", body,
                                   {"Content-Type": "application/json"})
                answer = connection.getresponse()
                text = answer.read()
                if answer.status != 200:
                    self.failures.append((answer.status, text))
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
            self.latencies_s.append(time.monotonic() - began)
            self._stopping.wait(self._pause_s)
        connection.close()

    def summary(self):
        ordered = sorted(self.latencies_s)
        return (f"{len(ordered)} ordinary requests beside it, p50 "
                f"{1000 * ordered[len(ordered) // 2]:.1f} ms, slowest {1000 * ordered[-1]:.1f} ms")
