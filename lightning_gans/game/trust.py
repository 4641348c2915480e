"""jsonargparse, which turns text into classes and functions, held to what may be named by a file."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType

from jsonargparse import _common, _optionals, set_parsing_settings

from lightning_gans.networks.trust import PACKAGE, PROGRAMS, is_own, of_torch


@contextmanager
def only_trusted(trusted: Iterable[str]) -> Iterator[None]:
    """Within this block parsers import only what a file may name, in whatever form it is named.

    The parser's own list of imports that are allowed: it is asked before each import, whether the name is a
    ``class_path``, a function's, one in a string that is parsed again, or one in another file.

    Args:
        trusted: Modules, packages and class paths that are allowed too.
    """
    own = (
        name
        for name, module in list(sys.modules.items())
        if name.isidentifier() and isinstance(module, ModuleType) and is_own(module)
    )
    settings = _common.parsing_settings
    before = {key: settings[key] for key in ("import_path_verdicts", "import_paths_enforced")}
    addresses = "s" in _optionals._get_config_read_mode()
    set_parsing_settings(
        import_path_denylist=["*", *PROGRAMS],
        import_path_allowlist=[PACKAGE, *of_torch(), *own, *trusted],
        config_read_mode_fsspec_enabled=False,  # a file must not have others fetched from the network
    )
    try:
        yield
    finally:
        settings.update(before)
        set_parsing_settings(config_read_mode_fsspec_enabled=addresses)
