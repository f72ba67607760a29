"""A share of a table for one task of a job array: `--part I/N`, where I counts from 1 to N."""

from collections.abc import Sequence
from typing import NamedTuple


class Part(NamedTuple):
    """The `index`-th of `count` shares; both count from 1, as people and schedulers' `1-8` do."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Read `I/N`.

        >>> Part.parse("2/8")
        Part(index=2, count=8)

        Raises:
            ValueError: unless 1 <= I <= N.
        """
        head, slash, tail = text.partition("/")
        index, count = (int(word) if word.isascii() and word.isdigit() else 0 for word in (head, tail))
        if not slash or not 1 <= index <= count:
            raise ValueError(f"want part as I/N with 1 <= I <= N (part 2 of 8 is 2/8), got {text!r}")
        return cls(index, count)

    def share(self, items: Sequence) -> list:
        """Give this part's block: contiguous, sizes differ by at most one, the parts together are `items` in order.

        >>> [Part(i, 3).share(range(7)) for i in (1, 2, 3)]
        [[0, 1], [2, 3], [4, 5, 6]]
        """
        low, high = (len(items) * i // self.count for i in (self.index - 1, self.index))
        return list(items[low:high])

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


ALL = Part()
