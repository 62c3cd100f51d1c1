"""What does not work now, said once when it begins and once when it ends."""

from __future__ import annotations

from collections.abc import Callable


class Problems:
    """The present problems, each under a key, such as `ray`. It may be read from any thread.

    Args:
        notify: Called with a sentence when a problem begins, and when it ends.
    """

    def __init__(self, notify: Callable[[str], None] = lambda _text: None) -> None:
        self._notify = notify
        self._texts: dict[str, str] = {}

    @property
    def texts(self) -> tuple[str, ...]:
        """The problems as sentences, each once."""
        return tuple(dict.fromkeys(self._texts.copy().values()))

    def begin(self, key: str, text: str) -> None:
        """Records a problem. It is said only if neither this one nor another one with this text is known."""
        is_new = key not in self._texts and text not in self._texts.values()
        self._texts[key] = text
        if is_new:
            self._notify(text)

    def end(self, key: str, text: str) -> None:
        """Records that there is no problem with this key, and says `text` if there was one."""
        before = self._texts.pop(key, None)
        if before is not None and before not in self._texts.values():
            self._notify(text)
