"""Nothing is served, and nothing done, but for the browser that was let in."""

from itertools import product

import pytest

from evoseg.datasets.io.files import write_image
from evoseg.studio.guard import HEADERS, LARGEST, Guard
from evoseg.studio.opened import Studio
from tests.studio.conftest import ORIGIN, PORT, draw

PATHS = ["/", "/api/project", "/api/events", "/static/main.js", "/api/runs", "/api/none"]
EDIT = {"id": "a", "tool": "brush", "label": 1, "radius": 2, "points": [[4, 5]]}


HOSTS = [f"evil.example:{PORT}", "127.0.0.1", f"127.0.0.1:{PORT + 1}", f"127.0.0.1.nip.io:{PORT}", ""]
ORIGINS = [None, "null", "http://evil.example", f"https://127.0.0.1:{PORT}", f"{ORIGIN}.evil.example"]


def test_another_host_gets_nothing_even_with_the_cookie(browser):
    for path, host in product(PATHS, HOSTS):
        assert browser.client.get(path, headers={"host": host}).status_code == 421, (path, host)


def test_without_the_cookie_there_is_nothing(client):
    name = f"evoseg-studio-{PORT}"
    for path, cookie in product(PATHS, (None, f"{name}=", f"{name}=a.b", f"{name}=;;=", "x" * 3000)):
        answer = client.get(path, headers={} if cookie is None else {"cookie": cookie})
        assert answer.status_code == 401 and "evoseg studio" in answer.text, (path, cookie)


def test_the_token_lets_in_and_its_cookie_is_strict(client, guard):
    for token in ("", "wrong", guard.token[:-1], "ä"):
        answer = client.get("/enter", params={"token": token}, follow_redirects=False)
        assert answer.status_code == 403 and "set-cookie" not in answer.headers
    answer = client.get(f"/enter?token={guard.token}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and guard.token not in cookie
    assert client.get("/").status_code == 200


def test_a_cookie_of_an_earlier_start_is_not_known(browser, studio):
    old = browser.client.cookies[f"evoseg-studio-{PORT}"]
    again = Guard(lambda *_: None, PORT)
    assert not again._is_known(f"evoseg-studio-{PORT}={old}")


def test_a_change_from_elsewhere_is_refused(browser, folder):
    key = browser.get("/api/project").json()["images"][0]["id"]
    for origin in ORIGINS:
        headers = {} if origin is None else {"origin": origin}
        assert browser.client.post(f"/api/images/{key}/edits", json=EDIT, headers=headers).status_code == 403
        assert browser.client.post("/api/runs", json={"seconds": 1}, headers=headers).status_code == 403
    assert not (folder / "runs").exists() and not (folder / ".evoseg").exists()


def test_a_page_of_another_site_cannot_even_read(browser):
    for site in ("cross-site", "same-site"):
        assert browser.client.get("/api/project", headers={"sec-fetch-site": site}).status_code == 403
    assert browser.client.get("/api/project", headers={"sec-fetch-site": "same-origin"}).status_code == 200


def test_forms_other_methods_and_large_bodies_are_refused(browser):
    headers = {"origin": ORIGIN}
    client = browser.client
    assert client.post("/api/runs", data={"seconds": "1"}, headers=headers).status_code == 415
    assert client.post("/api/runs", content=b"{}", headers=headers | {"content-type": "text/plain"}).status_code == 415
    assert client.put("/api/runs", json={}, headers=headers).status_code == 405
    assert client.options("/api/runs", headers={"origin": "http://evil.example"}).status_code == 405
    large = b'"' + b"a" * LARGEST + b'"'
    assert (
        client.post("/api/runs", content=large, headers=headers | {"content-type": "application/json"}).status_code
        == 413
    )
    assert client.get("/?" + "a" * 5000).status_code == 414


def test_every_answer_has_the_headers_of_safety_and_none_allows_other_sites(browser):
    for path in PATHS[:2] + PATHS[3:]:
        answer = browser.client.get(path, headers={"origin": "http://evil.example"})
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "unsafe" not in HEADERS["content-security-policy"]


def test_scripts_of_an_earlier_version_are_not_used(browser):
    assert browser.get("/static/main.js").headers["cache-control"] == "no-cache"


OUTSIDE = (
    "/static/../server.py",
    "/static/%2e%2e/server.py",
    "/static/..%2fserver.py",
    "/static//etc/passwd",
    "/api/images/..%2f..%2fetc%2fpasswd",
    "/api/images/%00",
    "/api/runs/..",
    "/api/runs/..%2f..",
    "/api/results/..",
    "/api/results/..%2f..%2fimages/0.png",
    "/api/export?source=../../etc/passwd&to=python",
    "/api/bench/beside?source=../../etc/passwd",
    "/api/bench/scores/..%2f..",
    "/api/library/tasks/..%2f..%2fetc%2fpasswd.png",
    "/api/library/..%2freuse",
    "/api/export?source=/etc/passwd&to=python",
)


def test_no_address_leads_out_of_the_folder(browser):
    for path in OUTSIDE:
        answer = browser.get(path)
        assert answer.status_code in (400, 404, 422), (path, answer.text)
        assert "root:" not in answer.text and "import" not in answer.text


def test_a_link_out_of_the_folder_is_not_served(folder, tmp_path):
    from evoseg.core.errors import DatasetError

    write_image(tmp_path / "secret.png", draw(0)[0])
    (folder / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(DatasetError, match="a link out of the folder"):
        Studio(folder)


def test_a_result_that_links_out_of_the_folder_is_not_served(browser, folder, tmp_path):
    write_image(tmp_path / "secret.png", draw(0)[0])
    overlays = folder / "results" / "mine" / "overlays"
    overlays.mkdir(parents=True)
    (overlays / "a.png").symlink_to(tmp_path / "secret.png")
    answer = browser.get("/api/results/mine/0.png")
    assert answer.status_code == 400 and "link out of the folder" in answer.json()["error"]


def test_a_pipeline_that_links_out_of_the_folder_is_not_opened(browser, folder, tmp_path):
    (tmp_path / "secret.evo").write_text("secret")
    (folder / "results").mkdir()
    (folder / "results" / "mine.evo").symlink_to(tmp_path / "secret.evo")
    assert browser.get("/api/pipelines").json() == {"saved": []}


def test_names_with_markup_stay_text(tmp_path):
    root = tmp_path / "<b>x&"
    names = ["<script>alert(1)</script>".replace("/", "∕"), "a\x1b[31m\nb", "'\"; drop"]
    (root / "images").mkdir(parents=True)
    for name in names:
        write_image(root / "images" / f"{name}.png", draw(0)[0])
    from fastapi.testclient import TestClient

    from evoseg.studio.server import make_app
    from tests.studio.conftest import Browser

    guard = Guard(make_app(Studio(root)), PORT)
    with TestClient(guard, base_url=ORIGIN) as client:
        browser = Browser(client, guard.token)
        page = browser.get("/").text
        assert "<b>x" not in page and "&lt;b&gt;x&amp;" in page
        shown = {image["name"] for image in browser.get("/api/project").json()["images"]}
        assert "\x1b" not in "".join(shown) and "\n" not in "".join(shown) and len(shown) == 3
        for image in browser.get("/api/project").json()["images"]:
            assert browser.get(f"/api/images/{image['id']}").json()["name"] == image["name"]
            done = browser.post(f"/api/images/{image['id']}/edits", EDIT)
            assert done.status_code == 200
