"""Stories: short generated texts with questions whose answers are spans of them, exactly known.

They are there to show that a model reads. Each story has several persons, things, places and times;
its two questions begin with the same word and have different answers, so that whoever looks for the
kind of answer alone gets at most one of them; and the stories held out speak of persons, things and
places that training never named. They are not English that anyone wrote: a small grammar makes
them, and who answers them well need not be able to answer anything else.

Source   Rajpurkar et al. 2016, arXiv:1606.05250 (answers as spans; section 5, the features of its
         logistic regression); Weston et al. 2015, arXiv:1502.05698 (questions about a simulated
         world)
"""

import json
import random
import re
from itertools import product
from pathlib import Path
from string import Formatter

from mini_models.squad import Question

SPLITS = ("train", "held_out")
KINDS = ("who", "where", "what", "when", "why")  # how a question begins
# words of each split, times in the order of a day; acts, as told and as asked; sentences and
# questions, those under "held_out" only for that split. In them p is who does it, q to whom, o the
# thing and n the same without its article, l the place, t the time, a the act and v the same as a
# question has it, b the reason and r the same behind "because"; a question is given with the letter
# of what answers it
_GRAMMAR = json.loads((Path(__file__).parent / "corpora" / "stories.json").read_text("utf-8"))
_WORD, _SENTENCE = re.compile(r"[\w']+"), re.compile(r"[^.]+")
# what befalls the two things of a story: in all, at least two places come into it
_PASTS = [
    pasts
    for pasts in product([("put",), ("give",), ("put", "move"), ("give", "put")], repeat=2)
    if sum(kind != "give" for past in pasts for kind in past) > 1
]


def stories(split: str, n: int, seed: int = 0) -> list[Question]:
    """n questions, two about each story; the first of them are those of a smaller n.

    The two of a story begin with the same word, which `KINDS` lists, and have different answers. A
    story has 3 to 7 sentences and 25 to 70 words, an answer 1 to 6 words.

    Args:
        split: "train" or "held_out", which share no name, thing or place.
    Raises: ValueError for another split, or n below 1.
    """
    if split not in SPLITS or n < 1:
        raise ValueError(f"{n} questions of {split!r}: give n >= 1 and one of {', '.join(SPLITS)}")
    draw, found = random.Random(f"{split} {seed}"), []
    while len(found) < n:
        kind, pair = draw.choice(KINDS), None
        while not pair:
            context, asked = _story(draw, split)
            if context.count(".") > 2 and 25 <= len(context.split()) <= 70:
                pair = _pair(draw, [ask for ask in asked if ask[0].lower().startswith(kind)])
        for question, answer, start in pair:
            number = f"{split}-{seed}-{len(found)}"
            found.append(Question(number, question, context, ((answer, start),)))
    return found[:n]


def _pair(draw: random.Random, asked: list[tuple[str, str, int]]):
    """Two of (question, answer, its place) whose answers end differently; None if there are none.

    "a silver watch" and "the watch" are one answer, and end alike.
    """
    draw.shuffle(asked)
    ends = [answer.split()[-1].lower() for _, answer, _ in asked]
    return next(((asked[0], other) for other, end in zip(asked, ends) if end != ends[0]), None)


def _story(draw: random.Random, split: str):
    """A text, and all that may be asked about it as (question, answer, its place)."""
    words, asked, named, before = _GRAMMAR["words"][split], [], {}, {}
    text = draw.choice(words["scene"]) if draw.random() < 0.4 else ""
    for event in _events(draw, words):
        frame = draw.choice(_lines("frames", event["kind"], split))
        pronoun = _pronoun(frame, event, before, words) if draw.random() < 0.7 else {}
        clause, spans = _written(_timed(draw, frame, event), event | pronoun)
        joined = _may_join(frame, before) and draw.random() < 0.6
        if joined:
            text = text[:-1] + draw.choice(_GRAMMAR["joints"])
        else:
            text, clause = text + " " if text else "", clause[0].upper() + clause[1:]
        spans = {key: (a + len(text), b + len(text)) for key, (a, b) in spans.items()}
        text += clause + "."
        for key in {"p", "q"} & spans.keys():
            if key not in pronoun:
                named[event[key]] = spans[key]
            spans[key] = named[event[key]]  # of a pronoun: the name that it stands for
        spans.setdefault("r", spans.get("b"))
        for about in event["asked"]:
            for key, question in _lines("questions", about, split):
                if spans.get(key):
                    asked.append((question.format(**event), *spans[key]))
        before = {"frame": frame, "joined": joined, **event}
    return text, [(question, text[a:b], a) for question, a, b in asked]


def _lines(table: str, about: str, split: str) -> list:
    """The sentences or questions about something, that a split may use."""
    lines = _GRAMMAR[table][about]
    return lines["both"] + (lines["held_out"] if split == "held_out" else [])


def _events(draw: random.Random, words) -> list[dict]:
    """What happens: two things each have a past, and somebody does something for a reason."""
    people, places = draw.sample(words["she"] + words["he"], 3), draw.sample(words["place"], 4)
    things = zip(draw.sample(words["adjective"], 2), draw.sample(list(words["noun"]), 2))
    pasts = []
    for p, kinds, (adjective, genus) in zip(draw.sample(people, 2), draw.choice(_PASTS), things):
        q = draw.choice([other for other in people if other != p])
        noun = draw.choice(words["noun"][genus])
        n = draw.choice((noun, f"{adjective} {noun}", genus))
        o = f"{'an' if adjective[0] in 'aeiou' else 'a'} {adjective} {noun}"
        past = [
            {"kind": kind, "asked": [kind], "p": p, "q": q, "o": o, "n": n, "l": places.pop()}
            for kind in kinds
        ]
        if kinds == ("put", "move"):
            past[0]["asked"].append("first")
        if len(kinds) > 1:
            past[1] |= {"p": q, "o": "the " + draw.choice((noun, f"{adjective} {noun}"))}
        past[-1]["asked"].append("kept" if kinds == ("give",) else "last")
        pasts.append(past)
    acts = draw.sample(_GRAMMAR["acts"], draw.choice((1, 2)))
    for p, act, b in zip(draw.sample(people, len(acts)), acts, draw.sample(words["reason"], 2)):
        told = {"a": act[0], "v": draw.choice(act[1:3]), "d": draw.choice((act[0], act[3]))}
        reason = {"b": b, "r": f"because {b}"}
        pasts.append([{"kind": "act", "asked": ["act"], "p": p, **told, **reason}])
    order = [past for past in pasts for _ in past]
    draw.shuffle(order)
    events = [past.pop(0) for past in order]
    timed = sorted(draw.sample(range(len(events)), draw.randrange(2, len(events) + 1)))
    hours = sorted(draw.sample(range(len(words["time"])), len(timed)))
    for i, hour in zip(timed, hours):
        events[i]["t"] = words["time"][hour]
    return events


def _may_join(frame: str, before: dict) -> bool:
    """Whether a clause may share the sentence of the one before: if no reason comes between."""
    first = not before or before["joined"] or before["kind"] == "act"
    return not first and frame[:3] not in ("{b}", "{r}")


def _pronoun(frame: str, event: dict, before: dict, words) -> dict[str, str]:
    """{"p": "she"} if the clause before began with the same person, and named no other whom the
    pronoun could mean; else {}."""
    begins = [f.removeprefix("{t} ")[:3] for f in (frame, before.get("frame", ""))]
    if not {*begins} <= {"{p}", "{q}"} or event[begins[0][1]] != before[begins[1][1]]:
        return {}
    key = begins[0][1]
    others = {before[k] for k in "pq" if f"{{{k}}}" in before["frame"]} - {event[key]}
    pronoun = "she" if event[key] in words["she"] else "he"
    return {} if others & {*words[pronoun]} else {key: pronoun}


def _timed(draw: random.Random, frame: str, event: dict) -> str:
    """The frame with the time at one of its ends, or without one if the event has none."""
    if "t" not in event:
        return frame.replace("{t} ", "").replace(" {t}", "")
    return frame if "{t}" in frame else draw.choice(("{t} " + frame, frame + " {t}"))


def _written(frame: str, values: dict) -> tuple[str, dict[str, tuple[int, int]]]:
    """The frame filled in as a clause, and where in it each of the values stands."""
    text, spans = "", {}
    for literal, key, *_ in Formatter().parse(frame):
        text += literal
        if key:
            spans[key] = (len(text), len(text) + len(values[key]))
            text += values[key]
    return text, spans


def span_baseline(train: list[Question], asked: list[Question], seed: int = 0) -> dict[str, str]:
    """An answer to each question asked, by its id, from a logistic regression without a network.

    Every span of up to 6 words inside a sentence is a candidate, described by `_features`, and the
    most probable one is the answer. It learns the first answer of each question against 30 other
    spans of its text.
    """
    from sklearn.feature_extraction import DictVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    draw, features, right = random.Random(seed), [], []
    for q in train:
        text, start = q.answers[0]
        spans = _candidates(q.context)
        is_right = [_place(span) == (start, start + len(text)) for span in spans]
        shown = {*draw.sample(range(len(spans)), min(30, len(spans)))}
        shown |= {i for i, one in enumerate(is_right) if one}
        features += [_features(q, spans[i]) for i in sorted(shown)]
        right += [is_right[i] for i in sorted(shown)]
    model = make_pipeline(DictVectorizer(), LogisticRegression(C=3, max_iter=1000))
    model.fit(features, right)
    found = {}
    for q in asked:
        spans = _candidates(q.context)
        scores = model.decision_function([_features(q, span) for span in spans])
        start, end = _place(spans[scores.argmax()])
        found[q.id] = q.context[start:end]
    return found


def _candidates(context: str) -> list[tuple[list[re.Match], int, int]]:
    """Spans of up to 6 words: the words of a sentence, the first's number, one behind the last."""
    sentences = [[*_WORD.finditer(context, *s.span())] for s in _SENTENCE.finditer(context)]
    return [
        (words, i, j)
        for words in sentences
        for i in range(len(words))
        for j in range(i + 1, min(i + 6, len(words)) + 1)
    ]


def _place(span) -> tuple[int, int]:
    words, i, j = span
    return words[i].start(), words[j - 1].end()


def _features(q: Question, span) -> dict[str, float]:
    """The words at a span's ends and beside it, its length and capitals, each with how the question
    begins; and how many of the question's words are in it, near it and in its sentence."""
    words, i, j = span
    said = ["^", *(w.group().lower() for w in words), "$"]
    wanted = _WORD.findall(q.question.lower())
    parts = {
        **{"before": said[i], "first": said[i + 1], "last": said[j], "after": said[j + 1]},
        **{"length": j - i, "capitals": sum(w.group().istitle() for w in words[max(i, 1) : j])},
    }
    begins = (wanted[0], " ".join(wanted[:2]))
    found = {f"{begin}: {name} {part}": 1.0 for begin in begins for name, part in parts.items()}
    inside, near = said[i + 1 : j + 1], said[max(0, i - 3) : i + 1] + said[j + 1 : j + 5]
    for name, where in (("in", inside), ("near", near), ("sentence", said)):
        found[f"{wanted[0]} {name}"] = found[name] = float(len({*wanted} & {*where}))
    return found
