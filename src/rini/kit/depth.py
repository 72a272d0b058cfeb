"""How deep a JSON value is nested."""

from typing import Any


def is_deeper(value: Any, most: int) -> bool:
    """Tell whether ``value`` has more than ``most`` levels of objects and lists, without descending into them by recursion."""
    level: list[Any] = [value]
    for _ in range(most + 1):
        children: list[Any] = []
        for each in level:
            children += each.values() if isinstance(each, dict) else each
        level = [child for child in children if isinstance(child, dict | list)]
        if not level:
            return False
    return True
