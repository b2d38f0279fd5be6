"""nginx and HAProxy as plain reverse proxies in front of one address."""

import os
import shutil
import socket

_NGINX = """worker_processes 1;
daemon off;
{user}
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_max_body_size 32m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream behind {{ server {to}; keepalive 8; }}
  server {{
    listen {listen};
    location / {{
      proxy_pass http://behind;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
    }}
  }}
}}
"""

_HAPROXY = """global
  maxconn 200
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend clients
  bind {listen}
  default_backend behind
backend behind
  server only {to}
"""


def program(name):
    """Its path, or None."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def free_address(host="127.0.0.1"):
    with socket.create_server((host, 0)) as held:
        return f"{host}:{held.getsockname()[1]}"


def start_nginx(cluster, name, to):
    folder = cluster.directory / name
    folder.mkdir()
    listen = free_address()
    config = folder / "nginx.conf"
    config.write_text(_NGINX.format(folder=folder, to=to, listen=listen,
                                    user="user root;" if os.getuid() == 0 else ""))
    cluster.spawn(name, [program("nginx"), "-p", folder, "-e", folder / "error.log", "-c", config])
    return listen


def start_haproxy(cluster, name, to):
    listen = free_address()
    config = cluster.directory / f"{name}.cfg"
    config.write_text(_HAPROXY.format(to=to, listen=listen))
    cluster.spawn(name, [program("haproxy"), "-db", "-f", config])
    return listen


STARTERS = {"nginx": start_nginx, "haproxy": start_haproxy}
