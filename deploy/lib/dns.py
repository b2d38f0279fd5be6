"""A name server of our own, and programs that believe it.

dnsmasq answers for one name on a loopback address of its own. The host's resolver is never touched:
a program that shall resolve the name is run in a private mount namespace in which /etc/resolv.conf
is ours. Standard library only.
"""

import grp
import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

from process import LocalError, Process, is_root, wait_until

DNS_PORT = 53


class NameServer:
    """dnsmasq for one name; the records can be changed while it runs."""

    def __init__(self, directory, address, name):
        self.name = name
        self.address = address
        self._directory = Path(directory)
        self._hosts = self._directory / "dns-hosts"
        self._process = None
        self._pid = None  # when started through sudo

    def start(self, addresses):
        if shutil.which("dnsmasq", path=os.environ.get("PATH", "") + ":/usr/sbin") is None:
            raise LocalError("dnsmasq is missing: apt-get install dnsmasq-base")
        self._write(addresses)
        if is_root() or _may_bind_low_ports():
            self._process = Process("dnsmasq", self._argv() + ["--keep-in-foreground"],
                                    self._directory / "dnsmasq.log")
        else:
            self._start_with_sudo()
        wait_until(lambda: self.query() == set(addresses), 5.0,
                   f"dnsmasq answers on {self.address}", self._require_alive)

    def set_records(self, addresses):
        self._write(addresses)
        self._signal(signal.SIGHUP)
        wait_until(lambda: self.query() == set(addresses), 5.0, "dnsmasq has the new records")

    def stop(self):
        if self._process is not None:
            self._process.stop()
        elif self._pid is not None:
            self._signal(signal.SIGTERM)
        self._process = self._pid = None

    def query(self):
        """The A records it gives, asked directly."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(0.5)
            try:
                client.sendto(_question(self.name), (self.address, DNS_PORT))
                return set(_addresses(client.recv(4096)))
            except OSError:
                return set()

    def _argv(self):
        # Our own user and group: a process that changes them outlives its parent.
        user = pwd.getpwuid(os.geteuid()).pw_name
        group = grp.getgrgid(os.getegid()).gr_name
        return ["dnsmasq", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--log-facility=-",
                "--bind-interfaces", f"--listen-address={self.address}", f"--port={DNS_PORT}",
                f"--addn-hosts={self._hosts}", f"--local=/{self.name}/", "--local-ttl=1",
                f"--user={user}", f"--group={group}",
                "--pid-file=" + str(self._directory / "dnsmasq.pid")]

    def _start_with_sudo(self):
        """Port 53 takes root; dnsmasq becomes this user at once, so that we can stop it."""
        argv = self._argv()
        argv[argv.index("--log-facility=-")] = f"--log-facility={self._directory}/dnsmasq.log"
        if shutil.which("sudo") is None or subprocess.call(["sudo", *argv]) != 0:
            raise LocalError("the name server needs port 53: run as root, or with sudo installed")
        self._pid = int((self._directory / "dnsmasq.pid").read_text())

    def _require_alive(self):
        if self._process is not None:
            self._process.require_alive()

    def _signal(self, number):
        if self._process is not None:
            self._process.signal(number)
        else:
            os.kill(self._pid, number)

    def _write(self, addresses):
        self._hosts.write_text("".join(f"{address} {self.name}\n" for address in addresses))


class PrivateResolver:
    """Runs programs that look names up at one name server only."""

    def __init__(self, directory, server):
        self._resolv = Path(directory) / "resolv.conf"
        self._nsswitch = Path(directory) / "nsswitch.conf"
        self._resolv.write_text(f"nameserver {server}\noptions timeout:1 attempts:2\n")
        # Some machines ask a daemon before DNS; this keeps to the file above.
        self._nsswitch.write_text("hosts: files dns\n")

    def wrap(self, argv):
        """`argv`, to be run in a private mount namespace."""
        flags = ["-m"] if is_root() else ["-rm", "--kill-child"]
        script = ('mount --bind "$0" /etc/resolv.conf || exit 125; '
                  '[ ! -e /etc/nsswitch.conf ] || mount --bind "$1" /etc/nsswitch.conf || '
                  'exit 125; '
                  'shift; exec "$@"')
        return ["unshare", *flags, "sh", "-c", script, str(self._resolv), str(self._nsswitch),
                *[str(part) for part in argv]]

    def works(self):
        return subprocess.run(self.wrap(["true"]), stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, check=False).returncode == 0


def _may_bind_low_ports():
    try:
        text = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()
        return int(text) <= DNS_PORT
    except OSError:
        return False


def _question(name):
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    number = int(time.monotonic() * 1000) & 0xFFFF
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + b"\0\1\0\1"


def _skip_name(message, at):
    while message[at] != 0:
        if message[at] >= 0xC0:
            return at + 2
        at += message[at] + 1
    return at + 1


def _addresses(message):
    """The A records of an answer from our own server."""
    answers = struct.unpack(">H", message[6:8])[0]
    at = _skip_name(message, 12) + 4
    for _ in range(answers):
        at = _skip_name(message, at)
        kind, _, _, length = struct.unpack(">HHIH", message[at:at + 10])
        at += 10
        if kind == 1:
            yield socket.inet_ntoa(message[at:at + length])
        at += length
