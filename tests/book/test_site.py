"""The built site as a reader meets it: each link, image and kilobyte, and in a real browser too."""

import asyncio
import contextlib
import functools
import gzip
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urljoin, urlsplit

import nbformat
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup
from playwright.async_api import async_playwright
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
MAX_BYTES = 650_000  # what a page and all it loads may weigh, each file gzipped
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LOADS = {"src", "srcset", "poster", "data"}  # attributes whose address is fetched, not only offered
FETCHED_LINKS = {"stylesheet", "preload", "modulepreload", "prefetch", "icon", "preconnect"}
# data: pictures within a style sheet, and an SVG's name for its own language
CSS_ADDRESS = re.compile(r"url\(\s*['\"]?(?!data:|#)([^'\")]+)|@import\s+['\"]([^'\"]+)")


def leave_out(reason: str):
    """Skip what cannot be tested here; in CI, where nothing may be skipped, fail."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)


# --- the site, read from its files


@pytest.fixture(scope="module")
def site() -> dict[str, BeautifulSoup]:
    """Every page of the built site by its path, such as notebooks/02_attention.html."""
    if not (SITE / "index.html").exists():
        leave_out("the site is not built: run make book")
    paths = [p for p in sorted(SITE.rglob("*.html")) if "_static" not in p.parts]
    return {
        p.relative_to(SITE).as_posix(): BeautifulSoup(p.read_text("utf-8"), "html.parser")
        for p in paths
    }


def addresses(page: BeautifulSoup):
    """(tag, address, fetched) of everything that a page names; fetched: without a click."""
    for tag in page.find_all(True):
        for attribute in LOADS & set(tag.attrs):
            yield tag, str(tag[attribute]), True
        if "href" in tag.attrs:
            yield tag, tag["href"], bool(FETCHED_LINKS & set(tag.get("rel", [])))
        if tag.name == "meta" and "url=" in tag.get("content", "").lower():
            yield tag, tag["content"].split("=", 1)[1], False


def broken_links(pages: dict[str, BeautifulSoup], folder: Path) -> list[str]:
    """Links within the site that lead to no file, or to a file without that anchor."""
    names = {
        name: {tag.get("id") for tag in page.find_all(id=True)}
        | {tag["name"] for tag in page.find_all("a", attrs={"name": True})}
        for name, page in pages.items()
    }
    broken = []
    for here, page in pages.items():
        for _, address, _ in addresses(page):
            if urlsplit(address).scheme or address.startswith("//"):
                continue
            target = urlsplit(urljoin(f"/{here}", address))
            path, anchor = unquote(target.path).lstrip("/"), unquote(target.fragment)
            dead = anchor and path in names and anchor not in names[path]
            if dead or not (folder / path).is_file():
                broken.append(f"{here}: {address}")
    return broken


def test_every_link_within_the_site_leads_somewhere(site):
    assert not broken_links(site, SITE)


def test_a_dead_link_and_a_dead_anchor_would_be_noticed(tmp_path):
    links = '<a href="no.html">a</a><a href="#no">b</a><a id="x" href="#x">c</a>'
    page = BeautifulSoup(links, "html.parser")
    (tmp_path / "page.html").write_text(links)
    assert broken_links({"page.html": page}, tmp_path) == ["page.html: no.html", "page.html: #no"]


def test_no_page_and_no_style_sheet_names_another_host_to_fetch_from(site):
    elsewhere = [
        f"{here}: {address}"
        for here, page in site.items()
        for _, address, fetched in addresses(page)
        if fetched and re.match(r"(https?:)?//", address)
    ]
    for sheet in SITE.rglob("*.css"):
        for match in CSS_ADDRESS.finditer(sheet.read_text("utf-8")):
            address = match[1] or match[2]
            if re.match(r"(https?:)?//", address):
                elsewhere.append(f"{sheet.name}: {address}")
    assert not elsewhere


def test_every_image_says_in_words_what_it_shows(site):
    silent = []
    for here, page in site.items():
        for image in page.find_all("img"):
            alt = image.get("alt", "")
            named = re.search(r"[0-9a-f]{12}|\.(png|svg|jpe?g|gif)$", alt) or "/" in alt
            if len(alt.split()) < 2 or named:
                silent.append(f"{here}: {image['src']} has the alt text {alt!r}")
    assert not silent


def test_every_page_has_a_title_a_description_a_language_and_an_icon(site):
    wants = ["title", 'meta[name="description"][content]', "html[lang]", 'link[rel~="icon"]']
    missing = [(here, w) for here, page in site.items() for w in wants if not page.select(w)]
    titles = [page.title.get_text(strip=True) for page in site.values()]
    assert not missing
    assert len(set(titles)) == len(titles), titles


def test_every_chapter_offers_its_notebook(site):
    for notebook in ROOT.glob("notebooks/*.ipynb"):
        page = site[f"notebooks/{notebook.stem}.html"]
        links = [a["href"] for a in page.find_all("a", href=True)]
        offered = f"../_sources/notebooks/{notebook.name}"
        assert offered in links
        given = nbformat.read(SITE / "_sources" / "notebooks" / notebook.name, 4)
        assert len(given.cells) == len(nbformat.read(notebook, 4).cells)


# --- tiny books, built by the real tools


PYTHON = {"name": "python", "pygments_lexer": "ipython3"}


def build_tiny(folder: Path, text="It stands.", repository=None):
    """Build a book of one page and one notebook; return (exit status, what was said, page)."""
    for name in ("tools", "book/_static", "book/_vendor"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "_config.yml", folder)
    shutil.copy(ROOT / "book" / "references.bib", folder / "book")
    (folder / "_toc.yml").write_text(
        "format: jb-book\nroot: index\nchapters:\n  - file: notebooks/tiny\n"
    )
    (folder / "index.md").write_text(f"# A tiny book\n\n{text}\n")
    cells = [
        nbformat.v4.new_markdown_cell("# A tiny chapter\n\nOne cell.", id="title"),
        nbformat.v4.new_code_cell((folder / "tools" / "setup_cell.py").read_text(), id="setup"),
    ]
    cells[1].metadata["tags"] = ["remove-cell"]
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"language_info": PYTHON})
    (folder / "notebooks").mkdir()
    nbformat.write(notebook, folder / "notebooks" / "tiny.ipynb")
    unwanted = ("GITHUB_", "GIT_")  # this very run may be a workflow of somebody's fork
    env = {k: v for k, v in os.environ.items() if not k.startswith(unwanted)}
    env["GIT_CEILING_DIRECTORIES"] = str(folder.parent)  # no repository around the folder counts
    if repository:
        env |= {"GITHUB_REPOSITORY": repository, "GITHUB_SHA": "0123abcd" * 5}
    command = [sys.executable, "tools/book.py"]
    kept = {"capture_output": True, "text": True, "timeout": 300}
    done = subprocess.run(command, cwd=folder, env=env, **kept)
    page = folder / "_build" / "html" / "notebooks" / "tiny.html"
    return done.returncode, done.stdout + done.stderr, page.read_text() if page.exists() else ""


def test_a_fork_gets_its_own_colab_button_and_stamped_notebook(tmp_path):
    status, said, page = build_tiny(tmp_path, repository="someone/some-fork")
    assert status == 0, said
    colab = "https://colab.research.google.com/github/someone/some-fork/blob/gh-pages"
    assert f'"{colab}/_sources/notebooks/tiny.ipynb"' in page
    given = nbformat.read(tmp_path / "_build/html/_sources/notebooks/tiny.ipynb", 4)
    home = "git+https://github.com/someone/some-fork@" + "0123abcd" * 5
    assert f'SOURCE = "{home}"' in given.cells[1].source


def test_without_a_known_address_none_is_invented(tmp_path):
    status, said, page = build_tiny(tmp_path)
    assert status == 0, said
    assert "_sources/notebooks/tiny.ipynb" in page  # the download stays
    links = [a["href"] for a in BeautifulSoup(page, "html.parser").find_all("a", href=True)]
    assert not [link for link in links if urlsplit(link).netloc]
    assert "colab" not in page.lower() and "launch-buttons" not in page
    given = nbformat.read(tmp_path / "_build/html/_sources/notebooks/tiny.ipynb", 4)
    assert 'SOURCE = ""' in given.cells[1].source


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("A formula: $\\frac{1}{2$ goes wrong.", "KaTeX|katex"),
        ("A formula: $\\sofmax(x)$ goes wrong.", "sofmax"),
        ("A page [that is not there](nowhere.md).", "nowhere.md"),
        ("An equation that nobody wrote: {eq}`eq-nobody`.", "eq-nobody"),
        ("A paper {cite:p}`nobody1900` that nobody wrote.", "nobody1900"),
    ],
    ids=["open brace", "unknown command", "dead link", "dead equation", "dead citation"],
)
def test_a_slip_of_the_pen_fails_the_build(tmp_path, text, complaint):
    status, said, page = build_tiny(tmp_path, text)
    assert status != 0
    assert re.search(complaint, said), said
    assert not page  # nothing half built remains


# --- the site, in a browser


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(folder: Path):
    """The address at which a local server shows a folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def home():
    with served(SITE) as address:
        yield address


@pytest.fixture(scope="module")
def start():
    """How to start a browser: the arguments for playwright."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        leave_out(f"no browser: install Chromium (looked for {', '.join(BROWSERS)})")
    return {"executable_path": path, "args": ["--no-sandbox", "--disable-gpu"]}


OVERFLOW = """() => {  // what reaches beyond the window, if the page can be scrolled sideways
  const edge = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= edge) return [];
  return [...document.querySelectorAll("body *")]
    .filter(e => e.getBoundingClientRect().right > edge + 1)
    .map(e => "reaches too far: " + e.outerHTML.slice(0, 90)).slice(0, 5);
}"""
THIN = """() => {  // drop what costs axe minutes and tells it nothing new
  document.querySelectorAll(".katex-html").forEach(e => e.remove());  // the MathML stays,
  document.querySelectorAll("math").forEach((formula, i) => {  // of all but the first its shell
    if (i) formula.querySelector("mrow")?.replaceChildren("x");
  });
  const seen = new Set();
  document.querySelectorAll("pre span[class]").forEach(e => {  // one token of each colour stays
    if (seen.has(e.className)) e.replaceWith(...e.childNodes);
    seen.add(e.className);
  });
}"""
VIOLATIONS = """async () => {
  const report = await axe.run({resultTypes: ["violations"], preload: false});
  return report.violations.flatMap(v => v.nodes.slice(0, 3).map(
    n => `${v.id}: ${n.html.slice(0, 90)}: ${n.any[0]?.message ?? ""}`));
}"""


async def looks(page):
    """The page wide and narrow, light and dark: yields each look, once its scripts have settled."""
    for width in (1280, 390):
        await page.set_viewport_size({"width": width, "height": 900})
        await page.wait_for_timeout(400)  # the theme waits 300 ms before it looks at the new width
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            yield f"{width}, {scheme}"


async def inspect(browser, address: str) -> tuple[list[str], set[str]]:
    """All faults of one page, and the addresses that it asked for."""
    page, asked, faults = await browser.new_page(), set(), []
    page.on("request", lambda request: asked.add(request.url))
    page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    await page.goto(address, wait_until="networkidle")
    async for look in looks(page):
        faults += [f"{look}: {what}" for what in await page.evaluate(OVERFLOW)]
    await page.evaluate(Axe().axe_script)
    await page.evaluate(THIN)
    async for look in looks(page):
        faults += [f"{look}: {what}" for what in await page.evaluate(VIOLATIONS)]
    await page.close()
    return faults, asked


async def inspect_all(start: dict, addresses: list[str]):
    """What `inspect` finds on each page, as many at a time as there are processors."""
    gate = asyncio.Semaphore(os.cpu_count() or 1)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(**start)

        async def one(address):
            async with gate:
                return await inspect(browser, address)

        return await asyncio.gather(*map(one, addresses))


def test_every_page_in_a_real_browser(site, home, start):
    """Nothing from elsewhere, no error, nothing cut off, light to load, usable by everyone."""
    reports = asyncio.run(inspect_all(start, [f"{home}/{quote(name)}" for name in site]))
    faults = []
    for name, (found, asked) in zip(site, reports):
        found += [f"asks {a}" for a in asked if not a.startswith((home, "data:"))]
        paths = {unquote(urlsplit(a).path).lstrip("/") for a in asked if a.startswith(home)}
        files = [SITE / path for path in paths if (SITE / path).is_file()]
        weight = sum(len(gzip.compress(file.read_bytes())) for file in files)
        if weight > MAX_BYTES:
            found.append(f"weighs {weight:,} bytes, over {MAX_BYTES:,}")
        faults += [f"{name}: {fault}" for fault in found]
    assert not faults, "\n".join(faults)


def test_the_browser_notices_what_is_wrong_with_a_page(tmp_path, start):
    (tmp_path / "page.html").write_text(
        """<!doctype html><html lang="en"><title>A page</title><main><h1>A page</h1>
        <link rel="stylesheet" href="https://elsewhere.invalid/a.css"><img src="data:,">
        <p style="color: #ccc">Pale.</p><div style="width: 900px">Wide.</div></main>
        <script>console.error("It complains."); no.thing()</script></html>"""
    )
    with served(tmp_path) as home:
        ((faults, asked),) = asyncio.run(inspect_all(start, [f"{home}/page.html"]))
    assert "https://elsewhere.invalid/a.css" in asked
    for fault in ("^It complains", "no is not defined", "^390, dark: reaches too far: <div"):
        assert any(re.search(fault, found) for found in faults), fault
    for look in ("1280, light", "1280, dark", "390, light", "390, dark"):
        assert any(found.startswith(f"{look}: image-alt") for found in faults)
        assert any(found.startswith(f"{look}: color-contrast") for found in faults)
    assert not any(found.startswith("1280, light: reaches") for found in faults)


def test_the_search_finds_a_word(site, home, start):
    with sync_playwright() as playwright:
        page = playwright.chromium.launch(**start).new_page()
        page.goto(f"{home}/book/notation.html")
        page.locator("button.search-button-field").first.click()
        page.locator("#pst-search-dialog input").fill("softmax")
        page.keyboard.press("Enter")
        page.wait_for_selector("ul.search li a", timeout=10_000)
        found = page.locator("ul.search li a").evaluate_all("links => links.map(a => a.href)")
    assert any("02_attention.html" in address for address in found)


@pytest.fixture
def browser(start):
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(**start)


def answers(page):
    """How many answers of a page there are, how many are open, and how many can be read."""
    there = page.locator("details.answer")
    read = [answer.is_visible() for answer in there.locator(".cell_output").all()]
    return there.count(), page.locator("details.answer[open]").count(), sum(read)


def test_an_answer_is_closed_until_a_reader_opens_it_and_open_on_paper(home, browser):
    page = browser.new_page()
    page.goto(f"{home}/notebooks/02_attention.html")
    n, opened, _ = answers(page)
    assert n > 5 and opened == 0
    asked = page.locator("details.answer > summary")
    asked.nth(0).click()
    asked.nth(1).press("Enter")
    assert answers(page) == (n, 2, 2)
    page.emulate_media(media="print")
    assert answers(page) == (n, 2, n)
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert answers(page) == (n, n, n)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert answers(page) == (n, 2, 2)


def test_the_switch_opens_all_answers_of_all_chapters_until_it_is_switched_back(home, browser):
    page = browser.new_page()
    page.goto(f"{home}/notebooks/02_attention.html")
    page.get_by_label("Show all answers").check()
    n, opened, read = answers(page)
    assert n == opened == read > 0
    page.goto(f"{home}/notebooks/04_transformer.html")
    n, opened, _ = answers(page)
    assert n == opened > 0
    page.get_by_label("Show all answers").uncheck()
    assert answers(page) == (n, 0, 0)
    page.reload()
    assert answers(page) == (n, 0, 0)


def test_without_scripts_an_answer_opens_and_prints_all_the_same(home, browser):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(f"{home}/notebooks/04_transformer.html")
    assert not page.get_by_label("Show all answers").count()
    page.locator("details.answer > summary").first.click()
    n, opened, read = answers(page)
    assert n > opened == read == 1
    page.emulate_media(media="print")
    assert answers(page) == (n, 1, n)


# --- the workflow that publishes


@pytest.fixture
def workflow() -> dict:
    return yaml.safe_load((ROOT / ".github" / "workflows" / "book.yml").read_text("utf-8"))


def test_the_workflow_needs_nothing_but_the_two_usual_actions(workflow):
    jobs = workflow["jobs"]
    steps = [step for job in jobs.values() for step in job["steps"]]
    used = {step["uses"].split("@")[0] for step in steps if "uses" in step}
    assert used == {"actions/checkout", "actions/setup-python"}
    assert jobs["test"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    assert jobs["test"]["steps"][-1]["run"] == "bash .ci/run"
    assert jobs["publish"]["needs"] == "test" and "refs/heads/main" in jobs["publish"]["if"]


def test_its_last_step_puts_all_of_the_site_on_the_branch(workflow, tmp_path):
    def git(*arguments):
        command = ["git", "-c", "user.name=Ann", "-c", "user.email=ann@example.org", *arguments]
        done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
        return done.stdout.split()

    git("init", "-q", "--bare", "home.git")
    git("clone", "-q", "home.git", "checkout")
    site = tmp_path / "checkout" / "_build" / "html"
    for name in ("index.html", "_sources/notebooks/tiny.ipynb", "dist/a.js"):
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(name)
    shutil.copy(ROOT / ".gitignore", tmp_path / "checkout")
    git("-C", "checkout", "add", "--all")
    git("-C", "checkout", "commit", "-qm", "Text")
    step = workflow["jobs"]["publish"]["steps"][-1]["run"]
    given = {"RUNNER_TEMP": str(tmp_path), "GITHUB_ACTOR": "ann", "GITHUB_SHA": "0123"}
    for _ in range(2):  # a second push replaces the first
        subprocess.run(
            ["bash", "-e", "-c", step],
            cwd=tmp_path / "checkout", env=os.environ | given, check=True,
        )  # fmt: skip
        listed = git("-C", "home.git", "ls-tree", "-r", "--name-only", "gh-pages")
        assert set(listed) == {
            ".nojekyll", "index.html", "_sources/notebooks/tiny.ipynb", "dist/a.js"
        }  # fmt: skip
    assert git("-C", "home.git", "rev-list", "--count", "gh-pages") == ["1"]
