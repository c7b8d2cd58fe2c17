"""Requests of other pages, other names and other people are refused; every answer forbids a browser what is not needed."""

from __future__ import annotations

import json
import socket

import pytest
from studio.served import TOKEN, Page, served

READ = "/api/jobs"
STREAM = "/api/events"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1:1",
        "127.0.0.1",
        "localhost.evil.example:{port}",
        "[::2]:{port}",
        ":",
    ],
)
def test_a_host_that_is_not_our_own_is_refused(page: Page, host: str):
    for path in ("/", READ, STREAM, "/page/index.html"):
        assert page.get(path, Host=host.format(port=page.port)).status == 403
    assert page.post("/api/shutdown", Host=host.format(port=page.port)).status == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "LOCALHOST"])
def test_our_own_names_are_taken(page: Page, host: str):
    assert page.get(READ, Host=f"{host}:{page.port}").status == 200


def test_two_hosts_are_refused(page: Page):
    with socket.create_connection(("127.0.0.1", page.port), 10) as connection:
        own = f"127.0.0.1:{page.port}"
        head = f"GET {READ} HTTP/1.1\r\nHost: {own}\r\nHost: evil.example\r\nCookie: {page.cookie}\r\n\r\n"
        connection.sendall(head.encode())
        assert b" 200 " not in connection.recv(4096).split(b"\r\n")[0]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "", "Sec-Fetch-Site": "same-site"},
        {"Origin": "", "Sec-Fetch-Site": "none"},
        {"X-Preimage": ""},
        {"Cookie": ""},
    ],
)
def test_a_write_of_another_page_is_refused(page: Page, headers: dict[str, str]):
    for method, path in (
        ("POST", "/api/files"),
        ("POST", "/api/jobs"),
        ("POST", "/api/shutdown"),
        ("DELETE", f"{READ}/x"),
    ):
        assert page.send(method, path, b"{}", headers).status in (401, 403)
    assert page.get(READ).status == 200


def test_another_page_cannot_read_the_event_stream(page: Page):
    own = {"Origin": f"http://127.0.0.1:{page.port}", "Sec-Fetch-Site": "same-origin"}
    assert page.get(STREAM, **own | {"Origin": "http://evil.example"}).status == 403
    assert page.get(STREAM, **own | {"Sec-Fetch-Site": "cross-site"}).status == 403
    assert page.get(STREAM, **own | {"Cookie": ""}).status == 401


def test_without_the_token_there_is_nothing_but_a_line(page: Page):
    stranger = Page(page.port, token=None)
    assert stranger.get(READ).status == 401
    assert stranger.get("/").status == 401
    assert b"script" not in stranger.get("/").body
    assert stranger.get("/page/index.html").status == 401
    for token in ("", "wrong", TOKEN[:-1], TOKEN + "x", "%00", "é"):
        assert Page(page.port, token=token or None).get(READ).status == 401
        assert stranger.get(f"/?token={token.encode().hex()}").status in (401, 403)


def test_the_token_becomes_a_cookie_that_no_script_can_read(page: Page):
    answer = Page(page.port, token=None).get(f"/?token={TOKEN}")
    assert answer.status == 303
    assert answer.headers["location"] == "/"
    ways = {each.strip().lower() for each in answer.headers["set-cookie"].split(";")}
    assert {"httponly", "samesite=strict", "path=/"} <= ways
    assert str(page.port) in answer.headers["set-cookie"].split("=")[0]


@pytest.mark.parametrize("path", ["/", READ, "/api/none", "/page/none", "/api/files/zz"])
def test_every_answer_forbids_what_is_not_needed(page: Page, path: str):
    for asker in (page, Page(page.port, token=None)):
        headers = asker.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert not any(name.startswith("access-control") for name in headers)


def test_what_another_page_may_do_is_never_said(page: Page):
    answer = page.send(
        "OPTIONS", READ, None, {"Access-Control-Request-Method": "POST", "Origin": "http://evil.example"}
    )
    assert answer.status == 403
    assert not any(name.startswith("access-control") for name in answer.headers)


@pytest.mark.parametrize(
    "path",
    [
        "/page/..%2f..%2fapp.py",
        "/page/../app.py",
        "/page/%2e%2e/app.py",
        "/page//etc/passwd",
        "/page/%2fetc%2fpasswd",
        "/page/index.html%00.js",
        "/api/files/..%2f..%2ftoken/raw",
        "/api/jobs/..%2f..%2f/download/output",
        "/api/jobs/%00/view/input",
        "/" + 3000 * "a",
    ],
)
def test_names_never_become_paths(page: Page, path: str):
    answer = page.get(path)
    assert answer.status in (400, 404)
    assert TOKEN.encode() not in answer.body
    assert b"root:" not in answer.body


def test_a_body_that_is_too_long_is_refused(page: Page):
    assert page.post("/api/jobs", b" " * (2**20 + 1)).status == 413
    chunked = (b"x" * 2**16 for _ in range(17))
    answer = page.send(
        "POST",
        "/api/jobs",
        b"".join(f"{len(c):x}\r\n".encode() + c + b"\r\n" for c in chunked) + b"0\r\n\r\n",
        {"Transfer-Encoding": "chunked"},
    )
    assert answer.status == 413


def test_headers_that_are_too_long_are_refused(page: Page):
    assert page.get(READ, **{"X-Long": "a" * 40_000}).status in (400, 431)
    assert page.get(READ).status == 200


def test_a_password_is_asked_for_where_there_is_one(tmp_path):
    with served(tmp_path, password="correct horse") as (page, _):
        stranger = Page(page.port, token=None)
        assert b"password" in stranger.get("/").body
        assert stranger.get(f"/?token={TOKEN}").status == 401  # in an address a password would be seen
        form = {"Content-Type": "application/x-www-form-urlencoded", "X-Preimage": ""}
        assert stranger.send("POST", "/login", b"password=wrong", form).status == 403
        assert (
            stranger.send("POST", "/login", b"password=correct+horse", form | {"Origin": "http://evil.example"}).status
            == 403
        )
        answer = stranger.send("POST", "/login", b"password=correct+horse", form)
        assert answer.status == 303
        cookie = answer.headers["set-cookie"].split(";")[0]
        assert stranger.get(READ, Cookie=cookie).status == 200


def test_errors_are_one_line(page: Page):
    for answer in (
        page.get("/api/none"),
        page.get("/api/jobs/zz"),
        page.post("/api/jobs", b"no JSON"),
        page.post("/api/jobs", []),
    ):
        assert answer.status in (404, 422)
        assert "\n" not in json.loads(answer.body)["error"]
