"""The proxies that are compared, each on one core: their settings, how they start."""

import shutil
import socket

from figures import Skipped
from process import http_get

HOST = "127.0.61.1"  # nothing else connects from here, so a free port stays free until it is used
FILES = 19_900  # open files of a process; HAProxy and nginx want to know


def free_port():
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


def installed(program, package):
    path = shutil.which(program, path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if path is None:
        raise Skipped(f"{program} is not installed: apt-get install {package}")
    return path


class Contestant:
    """`start(front)` spawns it; then it listens at `addresses`, clients take them in turns."""

    def __init__(self, name, processes=1):
        self.name = name
        self.addresses = [f"{HOST}:{free_port()}" for _ in range(processes)]
        self.processes = []

    def ready(self):
        return all(http_get(f"http://{address}/v1/models")[0] == 200 for address in self.addresses)


class Direct(Contestant):
    """No proxy: the instances themselves."""

    def __init__(self):
        super().__init__("direct", processes=0)

    def start(self, front):
        self.addresses = front.instances


class Haproxy(Contestant):
    # Without http-no-delay it holds events back to send several at once.
    CONFIG = """global
  nbthread 1
  maxconn 10500
  ulimit-n {files}
  no strict-limits
  tune.bufsize 65536
defaults
  mode http
  timeout connect 2s
  timeout client 300s
  timeout server 300s
  option http-keep-alive
  option http-no-delay
  http-reuse always
  maxconn 10500
frontend clients
  bind {listen}
  default_backend instances
backend instances
  balance roundrobin
  option httpchk GET /health
{servers}
"""

    def __init__(self):
        self.program = installed("haproxy", "haproxy")
        super().__init__("HAProxy")

    def start(self, front):
        servers = "\n".join(f"  server s{number} {address} check inter 500 pool-max-conn 1024"
                            for number, address in enumerate(front.instances))
        config = front.directory / "haproxy.cfg"
        config.write_text(self.CONFIG.format(listen=self.addresses[0], servers=servers,
                                             files=FILES))
        self.processes = [front.spawn_proxy("haproxy", [self.program, "-db", "-f", config])]


class Nginx(Contestant):
    CONFIG = """worker_processes 1;
daemon off;
user root;
pid {folder}/nginx.pid;
error_log {folder}/nginx.err;
worker_rlimit_nofile {files};
events {{ worker_connections 15000; }}
http {{
  access_log off;
  tcp_nodelay on;
  keepalive_requests 1000000000;
  keepalive_timeout 300s;
  client_body_buffer_size 64k;
  client_max_body_size 32m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream instances {{
{servers}
    keepalive 1024;
    keepalive_requests 1000000000;
  }}
  server {{
    listen {listen} backlog=4096;
    location / {{
      proxy_pass http://instances;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""

    def __init__(self):
        self.program = installed("nginx", "nginx-light")
        super().__init__("nginx")

    def start(self, front):
        servers = "\n".join(f"    server {address};" for address in front.instances)
        config = front.directory / "nginx.conf"
        config.write_text(self.CONFIG.format(folder=front.directory, listen=self.addresses[0],
                                             servers=servers, files=FILES))
        self.processes = [front.spawn_proxy("nginx", [self.program, "-c", config])]


class Nodes(Contestant):
    """Ours: one node alone, or a mesh among whose nodes the clients' connections are spread."""

    def __init__(self, name, count, flags=()):
        super().__init__(name, count)
        self.mesh_addresses = [f"{HOST}:{free_port()}" for _ in range(count)]
        self._flags = list(flags)

    def start(self, front):
        flags = ["--node.io_threads", "1", "--node.log_level", "warn", *self._flags]
        if len(self.addresses) == 1:
            flags += ["--mesh.alone", "true"]
        else:
            flags += ["--mesh.seeds", ",".join(self.mesh_addresses), "--mesh.cluster", "front"]
        for number, address in enumerate(front.instances):
            flags += ["--instance", f"name=e{number},address={address}"]
        for number, (http, mesh) in enumerate(zip(self.addresses, self.mesh_addresses)):
            name = f"node-{len(self.addresses)}-{number + 1}"
            self.processes.append(front.spawn_proxy(name, [
                front.program("dualmeshd"), "--node.name", name, "--http.listen", http,
                "--mesh.listen", mesh, *flags]))


def ours(flags=()):
    return [Nodes("one node", 1, flags), Nodes("mesh of 3", 3, flags)]


def all_proxies(flags=()):
    return [Haproxy(), Nginx(), *ours(flags)]
