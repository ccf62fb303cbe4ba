"""Listens in a guest on one port of each kind. python3-minimal has no more than the modules imported here."""
import socket
import threading
import time

held = []


def listener(family, address, port):
    sock = socket.socket(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind((address, port))
    sock.listen(300)
    held.append(sock)
    return sock


def serve(sock, answer):
    def one(connection):
        try:
            answer(connection)
        except OSError:
            pass
        connection.close()

    def all():
        while True:
            connection, _ = sock.accept()
            threading.Thread(target=one, args=(connection,), daemon=True).start()

    threading.Thread(target=all, daemon=True).start()


def http(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(4096)
        if not more:
            return
        data += more
    if data.startswith((b"GET ", b"HEAD ")):
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello\n")


def tls(connection):
    # The alert of a server that has no certificate for anybody.
    if connection.recv(1) == b"\x16":
        connection.sendall(b"\x15\x03\x03\x00\x02\x02\x28")


def ssh(connection):
    connection.sendall(b"SSH-2.0-stand-in\r\n")
    time.sleep(5)


def echo(connection):
    while True:
        data = connection.recv(65536)
        if not data:
            break
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)


def stall(connection):
    held.append(connection)
    time.sleep(1000)


V4, V6 = socket.AF_INET, socket.AF_INET6
serve(listener(V4, "127.0.0.1", 80), http)
serve(listener(V4, "0.0.0.0", 8000), http)
serve(listener(V6, "::", 8000), http)
serve(listener(V6, "::1", 8001), http)
serve(listener(V4, "0.0.0.0", 8443), tls)
serve(listener(V4, "0.0.0.0", 2222), ssh)
serve(listener(V4, "127.0.0.1", 9000), echo)
serve(listener(V4, "127.0.0.1", 9001), stall)
for port in range(20000, 20200):
    listener(V4, "0.0.0.0", port)
udp = socket.socket(V4, socket.SOCK_DGRAM)
udp.bind(("0.0.0.0", 5353))
with open("/proc/self/comm", "w") as name:
    name.write("ev\x1b[31mil")
print("up", flush=True)
time.sleep(100000)
