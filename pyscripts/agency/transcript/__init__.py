"""The signed record of a spin-up: an in-toto Statement in a DSSE envelope.

    spin-up --> model, judge (the newest rules) --> signing --> envelope, a file
                                                                   |
    agency transcript verify <-- judge (the rules it names) <-- verify

Rules, steps and names here are those of the newest version, which spin-ups write. Verification
knows every version (versions.py).
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
