"""Keys, tenants and secrets: who is let in, what is written down, and what is never seen anywhere."""

import hashlib
import json
import subprocess
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import openai
import pytest
from cluster import Cluster, chat_body, post, wait_until

KEY = "dmk-marked-key-0123456789abcdef0123456789abcdef"
CLEAR = "sk-marked-clear-key-0123456789abcdef"
TOKEN = "marked-metrics-token-0123456789abcdef"
SECRET = "marked-namespace-secret-0123456789abcdef"
PROMPT = "marked prompt that nobody else may read"
CHAT = "/v1/chat/completions"


def digest(key):
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


class Recorder(BaseHTTPRequestHandler):
    """An instance that remembers all it was sent."""

    heard = []

    def do_GET(self):  # pylint: disable=invalid-name
        self.answer({"object": "list", "data": [{"id": "echo", "object": "model"}]})

    def do_POST(self):  # pylint: disable=invalid-name
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Recorder.heard.append((dict(self.headers), body))
        self.answer({"id": "1", "object": "chat.completion", "created": 1, "model": "echo",
                     "choices": [{"index": 0, "finish_reason": "stop",
                                  "message": {"role": "assistant", "content": "yes"}}],
                     "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}})

    def answer(self, value):
        text = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@pytest.fixture(name="recorder")
def recorder_fixture():
    Recorder.heard = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()


def scrape(address, token):
    request = urllib.request.Request(f"http://{address}/metrics",
                                     headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read().decode()


def test_keys_and_secrets_are_seen_nowhere(tmp_path, recorder):
    with Cluster() as cluster:
        tenants = tmp_path / "tenants.toml"
        tenants.write_text('[[tenant]]\nname = "late"\nkeys = []\n')
        config = tmp_path / "node.toml"
        config.write_text(
            f'[http]\napi_keys = ["{CLEAR}"]\nnamespace_secret = "{SECRET}"\n'
            f'metrics_token = "{digest(TOKEN)}"\ntenants_file = "{tenants}"\n'
            f'tenants_check_interval_ms = 50\n[log]\naccess_file = "{tmp_path}/access.log"\n'
            f'[[instance]]\nname = "echo"\naddress = "{recorder}"\nmodels = ["echo"]\n'
            f'[[tenant]]\nname = "first"\nkeys = ["{digest(KEY)}"]\n'
            "private_prefixes = true\n")
        node = cluster.new_node([], ["--config", str(config), "--mesh.alone", "true"])
        node.wait_ready()
        address = node.http

        api = openai.OpenAI(base_url=f"http://{address}/v1", api_key=KEY, max_retries=0)
        answer = api.chat.completions.with_raw_response.create(
            model="echo", messages=[{"role": "user", "content": PROMPT}],
            extra_headers={"x-request-id": "from-the-client"})
        assert answer.parse().choices[0].message.content == "yes"
        assert answer.headers["x-request-id"] == "from-the-client"
        with pytest.raises(openai.AuthenticationError) as refused:
            openai.OpenAI(base_url=f"http://{address}/v1", api_key="marked-wrong",
                          max_retries=0).models.list()
        assert len(refused.value.response.headers["x-request-id"]) == 32

        late = "dmk-marked-late-0123456789abcdef"
        body = chat_body(PROMPT) | {"model": "echo"}
        bearer = {"Authorization": f"Bearer {late}"}
        assert post(address, CHAT, body, bearer)[0] == 401
        tenants.write_text(f'[[tenant]]\nname = "late"\nkeys = ["{digest(late)}"]\n')
        wait_until(lambda: post(address, CHAT, body, bearer)[0] == 200, 10.0,
                   "the new tenant is let in")
        tenants.write_text("[[tenant\n")
        wait_until(lambda: "dualmesh_tenants_broken_total 1" in scrape(address, TOKEN), 10.0,
                   "the broken file is counted")
        assert post(address, CHAT, body, bearer)[0] == 200
        with pytest.raises(urllib.error.HTTPError):
            scrape(address, KEY)

        records = []

        def logged():
            records[:] = map(json.loads, (tmp_path / "access.log").read_text().splitlines())
            return any(record["request_id"] == "from-the-client" for record in records)
        wait_until(logged, 10.0, "the request is in the log")
        mine = next(r for r in records if r["request_id"] == "from-the-client")
        assert (mine["tenant"], mine["status"], mine["end"]) == ("first", 200, "complete")
        assert (mine["instance"], mine["prompt_tokens"]) == ("echo", 5)

        printed = subprocess.run([cluster.program("dualmeshd"), "--config", config,
                                  "--print-config"], capture_output=True, text=True, check=True)
        heads = "".join(f"{k}: {v}\n" for head, _ in Recorder.heard for k, v in head.items())
        seen = {"config": printed.stdout + printed.stderr, "heads": heads,
                "metrics": scrape(address, TOKEN), "log": Path(node.process.log_path).read_text(),
                "access": (tmp_path / "access.log").read_text()}
        for place, text in seen.items():
            assert text, place
            for secret in ("marked", PROMPT, digest(KEY), digest(TOKEN)):
                assert secret not in text, place
        assert all(json.loads(body)["messages"][-1]["content"] == PROMPT
                   for _, body in Recorder.heard)


def test_hash_key_prints_what_the_configuration_takes():
    with Cluster() as cluster:
        cluster.keep_logs = False
        hash_key = [cluster.program("dualmeshctl"), "hash-key"]

        def run(*flags, typed=""):
            return subprocess.run([*hash_key, *flags], input=typed, capture_output=True, text=True,
                                  check=False)
        assert run(typed=KEY + "\n").stdout == f'keys = ["{digest(KEY)}"]\n'
        made = json.loads(run("--new", "--json").stdout)
        assert digest(made["key"]) == made["digest"]
        assert json.loads(run("--new", "--json").stdout) != made
        assert "so few characters" in run(typed="short\n").stderr
        for bad in ("", "\n", "two words\n", "käse\n"):
            assert run(typed=bad).returncode == 2
