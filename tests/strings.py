"""Strings of many scripts and habits, for what must cut any text as others do."""

import random

STRINGS = {
    "plain": "To be, or not to be: that is the question.",
    "contractions": "I'll say we've can't didn't it's THEY'RE I'd I'm 'tis o'clock ''s 'S",
    "Chinese": "床前明月光，疑是地上霜。举头望明月，低头思故乡。",
    "mixed scripts": "Привет мир! 你好 world שלום नमस्ते こんにちは 한국어 ğüşiöç",
    "emoji": "👍🏽 👨‍👩‍👧‍👦 🇨🇳 ❤️ 🤖🤖🤖",
    "whitespace runs": "a  b   c \t d\n\n\ne \r\n  f   ",
    "only spaces": "     ",
    "other spaces": "a\u00a0b\u2003c\u3000d\u200be\u2028f",
    "numbers": "3.14159, 1,000,000 ²³ ½ ٣ 0x1F 2020-05-28",
    "code": "def f(x):\n    return {'a': x**2, \"b\": [1, 2]}  # ok?\n",
    "marks": "!!! ... --- ??!! «quoted» “curly” ‘single’ $9.99 #tag @user a_b ~^`|",
    "accents": "café cafe\u0301 naïve Å A\u030a ﬁ Straße İstanbul",
    "long word": "antidisestablishmentarianism" * 5,
    "odd characters": "\x00\x07\x7f\ufffd\ue000\ufeff￾",
    "rare Chinese": "𠮷𡃁㐀豈䶵龘",
    "one letter": "a",
    "special": "<|endoftext|> [MASK] [CLS]",
    "nothing": "",
}


def random_strings(n, seed=0):
    """Strings of letters, marks, spaces and characters of many scripts.

    They are of scripts long complete: two libraries may know different versions of Unicode.
    """
    draw = random.Random(seed)
    scripts = [*range(0x600), *range(0x3040, 0xA000), *range(0xAC00, 0xD7A4)]
    some = [
        *"abcdefgXYZ 0123456789'  \n\t.,!?-~$^`|+<=>",
        *"éüñ你好月光ёжあ가𝔘🙂🙏🏽\u0301\u200d\u00a0",
    ]
    for _ in range(n):
        yield "".join(
            draw.choice(some) if draw.random() < 0.9 else chr(draw.choice(scripts))
            for _ in range(draw.randrange(40))
        )
