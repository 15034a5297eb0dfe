"""Counts the steps of a regular expression on a text, and makes texts that may be slow for it.

`count_steps` runs the parsed pattern by backtracking, as `re` does, and counts the characters that
it compares: a time that does not depend on the machine. `make_attacks` reads in the parsed pattern
what may be repeated, and yields texts that repeat it.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from re import _constants as sre
from re import _parser as parser
from typing import Any

Continuation = Callable[[int], int | None]
Matcher = Callable[[int, Continuation], int | None]

CHARACTERS = " \n\ta1.,-_[](){}<>\"'`*:;/\\|#=@&%$!?^~+é日　“„«」ﷺ"
UNBOUNDED = 50  # repeats of fewer texts are not pumped
MAX_STEPS = 600_000  # 500 per character of the longest text
MAX_GROWTH = 2.7  # of the steps, if the text is twice as long: 2 is linear, 4 quadratic


class TooManySteps(Exception):
    """The limit of steps was reached."""


class Program:
    """A pattern that counts its steps."""

    def __init__(self, pattern: re.Pattern[str]) -> None:
        sys.setrecursionlimit(max(sys.getrecursionlimit(), 400_000))
        self.flags = pattern.flags
        self.tree = parser.parse(pattern.pattern, pattern.flags)
        self.steps = 0
        self.limit = 0
        self.text = ""
        self.groups: dict[int, tuple[int, int]] = {}
        self.matcher = self._sequence(self.tree, self.flags)

    def count_steps(self, text: str, limit: int, *, is_anchored: bool = False) -> int:
        """Return the steps of finding all matches, as `re.finditer` does.

        With `is_anchored`, there is one try, at the beginning, that must match to the end.
        """
        self.text, self.steps, self.limit = text, 0, limit
        if is_anchored:
            self.groups = {}
            self.matcher(0, lambda offset: offset if offset == len(text) else None)
            return self.steps
        position = 0
        while position <= len(text):
            self.groups = {}
            end = self.matcher(position, lambda offset: offset)
            position = end if end is not None and end > position else position + 1
        return self.steps

    def _tick(self) -> None:
        self.steps += 1
        if self.steps > self.limit:
            raise TooManySteps

    # -- nodes -----------------------------------------------------------------------------

    def _sequence(self, items: Sequence[Any], flags: int) -> Matcher:
        matchers = [self._node(op, argument, flags) for op, argument in items]

        def run(number: int, position: int, k: Continuation) -> int | None:
            if number == len(matchers):
                return k(position)
            return matchers[number](position, lambda offset: run(number + 1, offset, k))

        if len(matchers) == 1:
            return matchers[0]
        return lambda position, k: run(0, position, k)

    def _node(self, op: Any, argument: Any, flags: int) -> Matcher:
        if (test := self.make_test(op, argument, flags)) is not None:
            return self._character(test)
        if op is sre.SUBPATTERN:
            group, added, removed, items = argument
            return self._group(group, self._sequence(items, (flags | added) & ~removed))
        if op is sre.BRANCH:
            return self._branch([self._sequence(items, flags) for items in argument[1]])
        if op in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            return self._repeat(op, argument, flags)
        if op is sre.ATOMIC_GROUP:
            return self._atomic(self._sequence(argument, flags))
        if op in (sre.ASSERT, sre.ASSERT_NOT):
            direction, items = argument
            width = items.getwidth()[0] if direction < 0 else 0
            return self._look(self._sequence(items, flags), width, is_wanted=op is sre.ASSERT)
        if op is sre.AT:
            return self._at(argument, flags)
        if op is sre.GROUPREF:
            return self._reference(argument)
        raise NotImplementedError(str(op))

    def make_test(self, op: Any, argument: Any, flags: int) -> Callable[[str], bool] | None:
        """Return the test of a node that matches one character, or None."""
        ignore_case = bool(flags & re.IGNORECASE)
        if op is sre.LITERAL or op is sre.NOT_LITERAL:
            expected = chr(argument)
            spellings = (
                {expected, expected.lower(), expected.upper()} if ignore_case else {expected}
            )
            return lambda c: (c in spellings) == (op is sre.LITERAL)
        if op is sre.ANY:
            return (lambda c: True) if flags & re.DOTALL else (lambda c: c != "\n")
        if op is sre.IN:
            return self._set_test(argument, ignore_case=ignore_case)
        if op is sre.CATEGORY:
            return CATEGORIES[argument]
        return None

    def _set_test(self, items: Sequence[Any], *, ignore_case: bool) -> Callable[[str], bool]:
        tests: list[Callable[[str], bool]] = []
        is_negated = False
        for op, argument in items:
            if op is sre.NEGATE:
                is_negated = True
            elif op is sre.LITERAL:
                tests.append(chr(argument).__eq__)
            elif op is sre.RANGE:
                low, high = argument
                tests.append(lambda c, low=low, high=high: low <= ord(c) <= high)
            else:
                tests.append(CATEGORIES[argument])
        results: dict[str, bool] = {}

        def test(c: str) -> bool:
            if c not in results:
                spellings = {c, c.lower()[:1], c.upper()[:1]} if ignore_case else {c}
                is_in = any(matches(s) for matches in tests for s in spellings if s)
                results[c] = is_in != is_negated
            return results[c]

        return test

    def _character(self, test: Callable[[str], bool]) -> Matcher:
        def match(position: int, k: Continuation) -> int | None:
            self._tick()
            if position < len(self.text) and test(self.text[position]):
                return k(position + 1)
            return None

        return match

    def _group(self, group: int | None, body: Matcher) -> Matcher:
        if group is None:
            return body

        def match(position: int, k: Continuation) -> int | None:
            def close(end: int) -> int | None:
                before = self.groups.get(group)
                self.groups[group] = (position, end)
                end_of_match = k(end)
                if end_of_match is None and before is not None:
                    self.groups[group] = before
                return end_of_match

            return body(position, close)

        return match

    def _branch(self, branches: Sequence[Matcher]) -> Matcher:
        def match(position: int, k: Continuation) -> int | None:
            for branch in branches:
                if (end := branch(position, k)) is not None:
                    return end
            return None

        return match

    def _repeat(self, op: Any, argument: Any, flags: int) -> Matcher:
        low, high, items = argument
        high = sys.maxsize if high is sre.MAXREPEAT else high
        test = self.make_test(*items[0], flags) if len(items) == 1 else None
        if test is not None:
            return self._repeat_character(op, test, low, high)
        body = self._sequence(items, flags)

        def repeat(position: int, count: int, k: Continuation) -> int | None:
            def again(offset: int) -> int | None:
                if offset == position and count >= low:
                    return None
                return repeat(offset, count + 1, k)

            if op is sre.MIN_REPEAT and count >= low and (end := k(position)) is not None:
                return end
            if count < high and (end := body(position, again)) is not None:
                return end
            return k(position) if op is not sre.MIN_REPEAT and count >= low else None

        greedy: Matcher = lambda position, k: repeat(position, 0, k)  # noqa: E731
        if op is sre.POSSESSIVE_REPEAT:
            return self._possessive(body, low, high)
        return greedy

    def _possessive(self, body: Matcher, low: int, high: int) -> Matcher:
        def match(position: int, k: Continuation) -> int | None:
            count = 0
            while count < high:
                end = body(position, lambda offset: offset)
                if end is None or (end == position and count >= low):
                    break
                position, count = end, count + 1
            return k(position) if count >= low else None

        return match

    def _repeat_character(
        self, op: Any, test: Callable[[str], bool], low: int, high: int
    ) -> Matcher:
        def match(position: int, k: Continuation) -> int | None:
            if op is sre.MIN_REPEAT:
                offset = position
                while True:
                    count = offset - position
                    if count >= low and (end := k(offset)) is not None:
                        return end
                    self._tick()
                    if count >= high or offset >= len(self.text) or not test(self.text[offset]):
                        return None
                    offset += 1
            offset = position
            while offset < len(self.text) and offset - position < high:
                self._tick()
                if not test(self.text[offset]):
                    break
                offset += 1
            if op is sre.POSSESSIVE_REPEAT:
                return k(offset) if offset - position >= low else None
            while offset - position >= low:
                if (end := k(offset)) is not None:
                    return end
                self._tick()
                offset -= 1
            return None

        return match

    def _atomic(self, body: Matcher) -> Matcher:
        def match(position: int, k: Continuation) -> int | None:
            end = body(position, lambda offset: offset)
            return None if end is None else k(end)

        return match

    def _look(self, body: Matcher, width: int, *, is_wanted: bool) -> Matcher:
        def match(position: int, k: Continuation) -> int | None:
            start = position - width
            end = body(start, lambda offset: offset) if start >= 0 else None
            return k(position) if (end is not None) == is_wanted else None

        return match

    def _at(self, place_name: Any, flags: int) -> Matcher:
        def holds(position: int) -> bool:
            text = self.text
            is_multiline = bool(flags & re.MULTILINE)
            if place_name in (sre.AT_BEGINNING, sre.AT_BEGINNING_STRING):
                at_line = is_multiline and place_name is sre.AT_BEGINNING
                return position == 0 or (at_line and text[position - 1] == "\n")
            if place_name in (sre.AT_END, sre.AT_END_STRING):
                if place_name is sre.AT_END_STRING:
                    return position == len(text)
                is_last = position == len(text) or text[position:] == "\n"
                return is_last or (is_multiline and text[position] == "\n")
            before = position > 0 and is_word(text[position - 1])
            after = position < len(text) and is_word(text[position])
            return (before != after) == (place_name is sre.AT_BOUNDARY)

        def match(position: int, k: Continuation) -> int | None:
            self._tick()
            return k(position) if holds(position) else None

        return match

    def _reference(self, group: int) -> Matcher:
        def match(position: int, k: Continuation) -> int | None:
            if group not in self.groups:
                return None
            start, end = self.groups[group]
            expected = self.text[start:end]
            self.steps += len(expected)
            self._tick()
            return k(position + len(expected)) if self.text.startswith(expected, position) else None

        return match

    # -- texts that may be slow --------------------------------------------------------------

    def make_attacks(self) -> Iterator[tuple[str, str, str]]:
        """Yield (before, repeated, after) for each repeat of the pattern, and for its beginnings."""
        seen: set[tuple[str, str]] = set()
        for before, body, flags in self._walk(self.tree, self.flags, ""):
            for unit in self._witnesses(body, flags):
                for attack in ((before, unit), ("", before + unit)):
                    if attack[1] and attack not in seen:
                        seen.add(attack)
                        yield (*attack, "")
                        yield (*attack, "\0")

    def _walk(self, items: Any, flags: int, before: str) -> Iterator[tuple[str, Any, int]]:
        """Yield for each long repeat what must come before it, and its body."""
        for op, argument in items:
            if op in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
                low, high, body = argument
                if high is sre.MAXREPEAT or high >= UNBOUNDED:
                    yield before, body, flags
                yield from self._walk(body, flags, before)
                before += self._witness(body, flags) * low
            elif op is sre.SUBPATTERN:
                _, added, removed, body = argument
                inner_flags = (flags | added) & ~removed
                yield from self._walk(body, inner_flags, before)
                before += self._witness(body, inner_flags)
            elif op is sre.BRANCH:
                for branch in argument[1]:
                    yield from self._walk(branch, flags, before)
                before += self._witness([(op, argument)], flags)
            elif op is sre.ATOMIC_GROUP:
                yield from self._walk(argument, flags, before)
                before += self._witness(argument, flags)
            elif op in (sre.ASSERT, sre.ASSERT_NOT):
                yield from self._walk(argument[1], flags, before)
            else:
                before += self._witness([(op, argument)], flags)
        if before:
            yield "", items, flags

    def _witnesses(self, items: Any, flags: int) -> list[str]:
        """Return short texts that the items match: one per character, if they match one."""
        items = list(items)
        while len(items) == 1 and items[0][0] is sre.SUBPATTERN:
            items = list(items[0][1][3])
        if len(items) == 1 and (test := self.make_test(*items[0], flags)) is not None:
            return [c for c in CHARACTERS if test(c)] or [self._witness(items, flags)]
        if len(items) == 1 and items[0][0] is sre.BRANCH:
            return [w for branch in items[0][1][1] for w in self._witnesses(branch, flags)]
        return [self._witness(items, flags)]

    def _witness(self, items: Any, flags: int) -> str:
        """Return one short text that the items match, without regard to assertions."""
        text = ""
        for op, argument in items:
            if op is sre.LITERAL:
                text += chr(argument)
            elif (test := self.make_test(op, argument, flags)) is not None:
                text += next((c for c in "a1 .-" + CHARACTERS if test(c)), "") or next(
                    (chr(c) for c in range(1, 0x3000) if test(chr(c))), ""
                )
            elif op is sre.SUBPATTERN:
                text += self._witness(argument[3], flags)
            elif op is sre.BRANCH:
                text += self._witness(argument[1][0], flags)
            elif op in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
                text += self._witness(argument[2], flags) * argument[0]
            elif op is sre.ATOMIC_GROUP:
                text += self._witness(argument, flags)
        return text


def is_word(c: str) -> bool:
    """Whether a character is one of ``\\w``."""
    return c.isalnum() or c == "_"


CATEGORIES: dict[Any, Callable[[str], bool]] = {
    sre.CATEGORY_DIGIT: str.isdecimal,
    sre.CATEGORY_NOT_DIGIT: lambda c: not c.isdecimal(),
    sre.CATEGORY_SPACE: str.isspace,
    sre.CATEGORY_NOT_SPACE: lambda c: not c.isspace(),
    sre.CATEGORY_WORD: is_word,
    sre.CATEGORY_NOT_WORD: lambda c: not is_word(c),
}


def find_slow_text(
    pattern: re.Pattern[str], *, is_anchored: bool = False
) -> tuple[str, float] | None:
    """Return the unit of a text whose steps grow faster than its length, and by how much; or None.

    Twice the repeats of a linear pattern take twice the steps. The lengths are beyond the bounds of
    the pattern's own repeats, up to 1,200.
    """
    program = Program(pattern)

    def measure_growth(before: str, unit: str, after: str, repeats: int) -> float:
        steps = [
            program.count_steps(before + unit * n + after, MAX_STEPS, is_anchored=is_anchored)
            for n in (repeats, 2 * repeats)
        ]
        return steps[1] / max(1, steps[0])

    for before, unit, after in program.make_attacks():
        growth = 0.0
        try:
            for repeats in (30, 120, 600):
                if (growth := measure_growth(before, unit, after, repeats)) < MAX_GROWTH:
                    break
        except TooManySteps:
            growth = math.inf
        if growth >= MAX_GROWTH:
            return f"{before}|{unit}|{after}", growth
    return None
