"""Who gets an answer of the page: attacks from other pages, other names and other folders."""

from __future__ import annotations

import json
import resource
import socket
from pathlib import Path

import pytest
from run_folders import make_grid, make_run
from served_pages import Serve, Served

from dit_run.view.guard import cookie_name


@pytest.fixture
def served(serve: Serve, tmp_path: Path) -> Served:
    make_run(tmp_path / "runs" / "a", lines=[{"step": 1, "loss": 1.0}], grids={1: ["x"]})
    return serve(tmp_path / "runs")


def test_the_printed_link_sets_a_cookie_and_leaves_the_address(served: Served) -> None:
    answer = served.get(f"/?token={served.token}", token=False)
    assert (answer.status, answer.headers["location"]) == (303, "./")
    cookie = answer.headers["set-cookie"]
    assert served.token in cookie
    assert "httponly" in cookie.lower()
    assert "samesite=lax" in cookie.lower()


@pytest.mark.parametrize("path", ["/", "/api/runs", "/static/main.js", "/images/x/grid/1.png", "/nothing"])
def test_without_the_token_nothing_is_answered(served: Served, path: str) -> None:
    assert served.get(path, token=False).status == 403
    assert served.get(f"{path}?token=wrong", token=False).status == 403
    cookie = cookie_name(served.token)
    assert served.get(path, token=False, Cookie=f"{cookie}=wrong").status == 403
    assert served.get(path, token=False, Cookie=f'{cookie}="\xe9\x01').status == 403
    assert served.get(path, token=False, Cookie=f"dit-run-view={served.token}").status == 403


def test_two_pages_on_one_host_are_open_at_once(serve: Serve, tmp_path: Path) -> None:
    pages = [serve(tmp_path), serve(tmp_path)]
    cookies = [page.get(f"/?token={page.token}", token=False).headers["set-cookie"].partition(";")[0] for page in pages]
    assert len({cookie.partition("=")[0] for cookie in cookies}) == 2
    for page in pages:
        assert page.get("/api/runs", token=False, Cookie="; ".join(cookies)).status == 200


def test_a_program_may_send_the_token_as_a_header(served: Served) -> None:
    assert served.get("/api/runs", token=False, Authorization=f"Bearer {served.token}").status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "a b", "[::1", "x@"])
def test_another_host_name_is_refused(served: Served, host: str) -> None:
    assert served.get("/api/runs", Host=host).status in (400, 421)


def test_own_names_are_served(served: Served) -> None:
    for host in (f"localhost:{served.port}", "127.0.0.1:9", "[::1]:80", socket.gethostname()):
        assert served.get("/api/runs", Host=host).status == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://localhost", "file://"])
def test_another_origin_is_refused(served: Served, origin: str) -> None:
    assert served.get("/api/runs", Origin=origin).status == 403


def test_a_proxy_of_a_given_name_is_served(serve: Serve, tmp_path: Path) -> None:
    served = serve(tmp_path, names=["proxy.example"])
    assert served.get("/api/runs", Host="proxy.example", Origin="https://proxy.example").status == 200
    assert served.get("/api/runs", Origin="https://proxy.example:8443").status == 200
    assert served.get("/api/runs", Origin="https://evil.example").status == 403
    assert served.get("/api/runs", Origin="https://[").status == 403


def test_the_own_origin_is_served(served: Served) -> None:
    assert served.get("/api/runs", Origin=f"http://127.0.0.1:{served.port}").status == 200


def test_a_cross_site_image_or_script_is_refused(served: Served) -> None:
    assert served.get("/api/runs", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="no-cors").status == 403


def test_every_answer_forbids_inline_scripts_and_other_hosts(served: Served) -> None:
    for path in ("/", "/api/runs", "/nothing"):
        headers = served.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self';")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e%2f%2e%2e%2fcli/main.py",
        "/static//etc/passwd",
        "/static/%2fetc/passwd",
        "/static/..\\app.py",
        "/../../etc/passwd",
        "//etc/passwd",
        "/api/runs/../runs/x",
        "/api/runs/%2e%2e%2f/config",
        "/images/..%2f/grid/1.png",
        "/api/runs/a%00b",
        "/images/x/grid/-1.png",
        "/images/x/grid/1e9.png",
        "/images/x/cell/1/99999999999999999999",
    ],
)
def test_paths_that_climb_are_not_found(served: Served, path: str) -> None:
    answer = served.get(path)
    assert answer.status in (400, 404, 405)
    assert b"root:" not in answer.body
    assert served.get("/api/runs").status == 200


def test_links_out_of_the_folder_are_not_served(serve: Serve, tmp_path: Path) -> None:
    outside = make_run(tmp_path / "outside", lines=[{"step": 9, "secret": 1.0}])
    run = make_run(tmp_path / "runs" / "a", grids={1: ["x"]})
    (run / "metrics.jsonl").symlink_to(outside / "metrics.jsonl")
    (run / "check.png").symlink_to(make_grid(outside, 3, ["secret"]))
    (run / "samples" / "step-00000003.png").symlink_to(outside / "samples" / "step-00000003.png")
    served = serve(tmp_path / "runs")
    (name,) = (found["id"] for found in json.loads(served.get("/api/runs").body)["runs"])
    assert served.get(f"/images/{name}/grid/1.png").status == 200
    for path in (f"/images/{name}/grid/3.png", f"/images/{name}/check.png", f"/api/runs/{name}/metrics.jsonl"):
        assert served.get(path).status == 404
    assert json.loads(served.get(f"/api/runs/{name}/curves").body)["series"] == {}


@pytest.mark.skipif(resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 2500, reason="the system allows too few open files")
def test_a_thousand_open_connections_leave_the_page_served(served: Served) -> None:
    idle = []
    try:
        for _ in range(1000):
            idle.append(socket.create_connection(("127.0.0.1", served.port), timeout=10))
        for connection in idle[:20]:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: ")
        assert served.get("/api/runs").status == 200
    finally:
        for connection in idle:
            connection.close()
    assert served.get("/api/runs").status == 200
