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
from itertools import product
from string import Formatter

from mini_models import corpora
from mini_models.data.squad import Question

STORY_SPLITS = ("train", "held_out")
QUESTION_WORDS = ("who", "where", "what", "when", "why")  # how a question begins
# mini_models/corpora/README.md says what its letters stand for
_GRAMMAR = json.loads(corpora.read("stories.json"))
# what befalls the two things of a story: in all, at least two places come into it
_PASTS = [
    pasts
    for pasts in product([("put",), ("give",), ("put", "move"), ("give", "put")], repeat=2)
    if sum(kind != "give" for past in pasts for kind in past) > 1
]


def stories(split: str, n: int, seed: int = 0) -> list[Question]:
    """n questions, two about each story; the first of them are those of a smaller n.

    The two of a story begin with the same word, one of QUESTION_WORDS, and have different answers.
    A story has 3 to 7 sentences and 25 to 70 words, an answer 1 to 6 words.

    Args:
        split: "train" or "held_out", which share no name, thing or place.
    Raises: ValueError for another split, or n below 1.
    """
    if split not in STORY_SPLITS or n < 1:
        raise ValueError(
            f"{n} questions of {split!r}: give n >= 1 and one of {', '.join(STORY_SPLITS)}"
        )
    draw, found = random.Random(f"{split} {seed}"), []
    while len(found) < n:
        kind, pair = draw.choice(QUESTION_WORDS), None
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
