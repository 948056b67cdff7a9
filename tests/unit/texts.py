"""A thousand texts in many scripts, the same every time: what tokenizers are tried on. Knows no tokenizer."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from unicodedata import ucd_3_2_0 as unicode  # of any Python the same

SENTENCES = [
    "All human beings are born free and equal in dignity and rights; that's what we'll say, isn't it?",
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren, größer als ein Maß.",
    "Tous les êtres humains naissent libres et égaux en dignité et en droits, çà et là où l'œuvre est.",
    "Todos los seres humanos nacen libres e iguales en dignidad y derechos. ¿Qué? ¡Año nuevo!",
    "Todos os seres humanos nascem livres e iguais; ação, coração, maçã.",
    "Wszyscy ludzie rodzą się wolni i równi pod względem godności; zażółć gęślą jaźń.",
    "Všichni lidé se rodí svobodní a sobě rovní; příliš žluťoučký kůň úpěl ďábelské ódy.",
    "Tüm insanlar özgür, onur ve haklar bakımından eşit doğar. İstanbul'da ılık IŞIK.",
    "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi.",
    "Все люди рождаются свободными и равными в своём достоинстве и правах. Ёлка, объём.",
    "Усі люди народжуються вільними і рівними; їжак, ґанок, п'ять.",
    "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι. ΣΊΣΥΦΟΣ, ΐ.",
    "Բոլոր մարդիկ ծնվում են ազատ ու հավասար.",
    "ყველა ადამიანი იბადება თავისუფალი და თანასწორი.",
    "כל בני האדם נולדו בני חורין ושווים בערכם. שָׁלוֹם",
    "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق، مُحَمَّد ٣٤٥",
    "تمام انسان آزاد پیدا می‌شوند و حقوق برابر دارند.",
    "सभी मनुष्य जन्म से स्वतंत्र और समान हैं। क्षत्रिय १२३",
    "সকল মানুষ স্বাধীনভাবে জন্মগ্রহণ করে।",
    "எல்லா மனிதர்களும் சுதந்திரமாகப் பிறக்கிறார்கள்.",
    "మనుషులందరూ స్వేచ్ఛగా పుట్టారు.",
    "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกัน ๑๒๓",
    "ມະນຸດທຸກຄົນເກີດມາມີອິດສະຫຼະ",
    "လူတိုင်းသည် လွတ်လပ်စွာ မွေးဖွားသည်။",
    "មនុស្សទាំងអស់កើតមកមានសេរីភាព",
    "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心！",
    "人人生而自由，在尊嚴和權利上一律平等；「引號」、頓號。",
    "すべての人間は、生まれながらにして自由であり、かつ平等である。カタカナ・ひらがな ﾊﾝｶｸ",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "ሁሉም ሰዎች ነፃ ሆነው ተወልደዋል።",
    "Бүх хүн төрөхдөө эрх чөлөөтэй ᠮᠣᠩᠭᠣᠯ བོད་སྐད་",
    "def fib(n: int) -> dict[str, int]:\n    return {'a': n ** 2, \"b\": [1, 2]}  # it's\n\n\nclass A(B):\n\tpass\n",
    "for (let i = 0; i < 10; i++) { console.log(`x=${i}`); } // done\r\n#include <stdio.h>\r\n",
    "SELECT * FROM t WHERE a_b != 3.14 AND \"c\" LIKE '%d%'; -- 0xFF 1e-10 1_000_000 v2.5.0",
    "<html><body class='x'>&amp; https://example.org/a?b=c#d user@mail.example</body></html>",
    "HelloWorld helloWorld HTTPServer snake_case kebab-case SCREAMING_CASE iPhone's McDonald",
    "1 12 123 1234 12345 123456 1234567 12345678 3.14 -5 +7 ½ ² Ⅷ 2026-11-22 12:30",
    "😀 😃👍🏽 👩‍👩‍👧‍👦 🇩🇪🇯🇵 ☺️ ✨ 🏳️‍🌈 ©™ ∑∫√∞ ≠≤ → ⇒ █▓ ♥",
    "ﬁ ﬂ Å Å e\u0301 é n\u0303 ñ ㎏ ① ℌ \u1e9b\u0323 \u0130 ß ẞ",
    "I'LL we'll don't 'tis rock'n'roll O'Neill's “quoted” ‘single’ — dash – en … … ¡!",
]
_SPACES = [" "] * 12 + ["  ", "   ", "\n", "\n\n", "\t", " \n ", "\r\n", "\u00a0", "\u3000", "", "", "     "]
_ODD = [
    *("<s>", "</s>", "<unk>", "[CLS]", "[MASK]", "<0x0A>", "\u2581", "\u2581\u2581a", "##ing", "<|im_end|>", "\u0120"),
    *("\x00", "\x07", "\x7f", "\u200b", "\ufeff", "\ue000", "\uffff", "\ufffd", "\U0010ffff"),
    *("a" * 120, "!" * 30, "=" * 17),
]


def texts(count: int = 1000) -> list[str]:
    """The texts: whole sentences, then mixtures of words, gaps, odd pieces and single characters of any script."""
    dice = random.Random(20261122)
    words = [word for sentence in SENTENCES for word in sentence.split(" ")]
    found = ["", " ", "  ", "\n", *SENTENCES, *_ODD]
    while len(found) < count:
        pieces: list[str] = []
        for _ in range(dice.randrange(1, 9)):
            kind = dice.random()
            if kind < 0.75:
                pieces.append(dice.choice(words))
            elif kind < 0.83:
                pieces.append(dice.choice(_ODD))
            elif kind < 0.92:
                pieces.append(str(dice.randrange(10 ** dice.randrange(1, 12))))
            else:
                pieces.append("".join(_character(dice) for _ in range(dice.randrange(1, 5))))
            pieces.append(dice.choice(_SPACES))
        found.append("".join(pieces))
    return found[:count]


def _character(dice: random.Random) -> str:
    while True:
        found = chr(dice.randrange(0x20, 0x2FA1E))
        if unicode.category(found) not in ("Cs", "Cn"):
            return found


def digest(ids: Sequence[int]) -> str:
    """Six hex digits of ids: golden ids of a thousand texts stay small."""
    return hashlib.sha256(json.dumps(list(ids)).encode()).hexdigest()[:6]
