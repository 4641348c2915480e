"""jsonargparse, which turns text into classes and functions, held to what may be named by a file."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from jsonargparse import _common, _optionals, set_parsing_settings

from lightning_gans.networks.trust import is_trusted


class _Verdicts(dict[str, bool]):
    """The parser's table of imports that are allowed, which it looks up by the whole name first."""

    def __init__(self, trusted: Iterable[str]) -> None:
        super().__init__({"*": False})
        self.trusted = tuple(trusted)

    def __contains__(self, path: object) -> bool:
        return True

    def __getitem__(self, path: str) -> bool:
        return is_trusted(path, self.trusted)


@contextmanager
def only_trusted(trusted: Iterable[str]) -> Iterator[None]:
    """Within this block parsers import only what a file may name, in whatever form it is named.

    The parser's own list of imports that are allowed: it is asked before each import, whether the name is a
    ``class_path``, a function's, one in a string that is parsed again, or one in another file; and again with
    the name under which what was imported is defined.

    Args:
        trusted: Modules, packages and class paths that are allowed too.
    """
    settings = _common.parsing_settings
    before = {key: settings[key] for key in ("import_path_verdicts", "import_paths_enforced")}
    addresses = "s" in _optionals._get_config_read_mode()
    set_parsing_settings(config_read_mode_fsspec_enabled=False)  # a file must not have others fetched
    settings.update(import_path_verdicts=_Verdicts(trusted), import_paths_enforced=True)
    try:
        yield
    finally:
        settings.update(before)
        set_parsing_settings(config_read_mode_fsspec_enabled=addresses)
