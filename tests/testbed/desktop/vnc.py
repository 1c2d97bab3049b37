"""The programs of a desktop with a VNC server, and two clients.

    vnc.py desktop VNC_PORT WEB_PORT
    vnc.py viewer HOST VNC_PORT SECONDS
    vnc.py browser HOST WEB_PORT SECONDS

The last line of a client has its connected seconds and the bytes that it has received.
"""
import os
import socket
import struct
import subprocess
import sys
import time

WEB_FOLDER = "/tmp/web"
DISPLAY = ":1"


def desktop(vnc_port, web_port):
    os.mkdir(WEB_FOLDER)
    # Prometheus scrapes this file.
    with open(f"{WEB_FOLDER}/metrics.txt", "w") as file:
        file.write("# TYPE desktop_up gauge\ndesktop_up 1\n")
    start_x_server("-rfbport", vnc_port)
    # 20 frames per second. Without the pause the X server uses 94 % of a core.
    subprocess.Popen(["ico", "-display", DISPLAY, "-faces", "-sleep", "0.05"])
    run_websockify = ["python3.11", "-m", "websockify", f"--web={WEB_FOLDER}", web_port, f"127.0.0.1:{vnc_port}"]
    os.execvp(run_websockify[0], run_websockify)


def start_x_server(*options):
    """Starts TigerVNC's X server and waits until it accepts X clients."""
    ready, write = os.pipe()
    command = ["Xtigervnc", DISPLAY, "-SecurityTypes", "None", "-displayfd", str(write), *options]
    subprocess.Popen(command, pass_fds=[write])
    os.close(write)
    if not os.read(ready, 16):
        sys.exit("Xtigervnc has not started; see its messages above")


def viewer(host, port, seconds):
    start_x_server("-rfbport", "5999", "-localhost")
    command = ["xtightvncviewer", "-display", DISPLAY, f"{host}::{port}"]
    received_before, began = received_by_pod(), time.monotonic()
    process = subprocess.Popen(command)
    try:
        process.wait(float(seconds))
        sys.exit("the viewer has ended early; see its messages above")
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    report(began, received_by_pod() - received_before)


def received_by_pod():
    """The bytes in the TCP packets that the pod has received."""
    read = lambda name: int(open(f"/sys/class/net/eth0/statistics/{name}").read())
    # Headers of Ethernet (14), IPv4 (20) and TCP with timestamps (32).
    return read("rx_bytes") - 66 * read("rx_packets")


def browser(host, port, seconds):
    began = time.monotonic()
    web_socket = WebSocket(host, port)
    stream = Rfb(web_socket)
    while time.monotonic() - began < float(seconds):
        stream.read_update()
    report(began, web_socket.received())


def report(began, received):
    print(f"{time.monotonic() - began:.1f} {received}")


class WebSocket:
    """A client of RFC 6455. The class of websockify 0.10 cannot send with Python 3."""

    def __init__(self, host, port):
        self.socket = socket.create_connection((host, port), timeout=10)
        self.file = self.socket.makefile("rb")
        # The nonce of the example in RFC 6455, 1.3.
        upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        upgrade += "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: binary\r\n"
        self.socket.sendall(f"GET /websockify HTTP/1.1\r\nHost: {host}:{port}\r\n{upgrade}\r\n".encode())
        status = self.file.readline()
        assert status.startswith(b"HTTP/1.1 101 "), f"the server does not upgrade the connection: {status}"
        while self.file.readline().strip():
            pass

    def send(self, message):
        """Sends a binary frame of less than 126 bytes, with a mask of zeros."""
        self.socket.sendall(bytes([0x82, 0x80 | len(message)]) + bytes(4) + message)

    def receive(self):
        """The content of the next frame."""
        opcode, length = self.file.read(2)
        assert opcode == 0x82, f"frame {opcode:#x} of the server is not binary"
        if length >= 126:
            format = ">H" if length == 126 else ">Q"
            (length,) = struct.unpack(format, self.file.read(struct.calcsize(format)))
        return self.file.read(length)

    def received(self):
        """The bytes that the kernel has received: tcpi_bytes_received of struct tcp_info (linux/tcp.h)."""
        info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)
        return struct.unpack_from("Q", info, 128)[0]


class Rfb:
    """A client of RFB 3.8 (RFC 6143) that reads the screen with the encoding Raw."""

    def __init__(self, web_socket):
        self.web_socket, self.unread = web_socket, b""
        self.web_socket.send(self.read(12))
        # The security types of the server. Type 1 is None.
        self.read(self.read(1)[0])
        self.web_socket.send(b"\x01")
        assert self.read(4) == bytes(4), "the server rejects the security type None"
        # ClientInit, for a shared session.
        self.web_socket.send(b"\x01")
        self.width, self.height, _, name_length = struct.unpack(">HH16sI", self.read(24))
        self.read(name_length)
        # SetEncodings with Raw alone.
        self.web_socket.send(struct.pack(">BxHi", 2, 1, 0))

    def read_update(self):
        """Requests what has changed since the last update, and reads it."""
        self.web_socket.send(struct.pack(">BBHHHH", 3, 1, 0, 0, self.width, self.height))
        kind, rectangles = struct.unpack(">BxH", self.read(4))
        assert kind == 0, f"message {kind} of the server is not FramebufferUpdate"
        for _ in range(rectangles):
            _, _, width, height, encoding = struct.unpack(">HHHHi", self.read(12))
            assert encoding == 0, f"encoding {encoding} is not Raw"
            # TigerVNC has 4 bytes per pixel by default.
            self.read(width * height * 4)

    def read(self, length):
        while len(self.unread) < length:
            self.unread += self.web_socket.receive()
        message, self.unread = self.unread[:length], self.unread[length:]
        return message


if __name__ == "__main__":
    {"desktop": desktop, "viewer": viewer, "browser": browser}[sys.argv[1]](*sys.argv[2:])
