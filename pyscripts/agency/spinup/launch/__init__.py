"""Start of `spinup_smoke` from a copy: what is digested is what runs.

    .venv/bin/spinup_smoke     no site, no bytecode of the checkout (tools/launcher.py)
        |
    main ── source.py ──▶ KEPT/site      a copy of exactly the files of the source digest
        |── libraries.py ─▶ KEPT/site    the installed libraries, each file as its RECORD has it
        |── python.py ──▶ RUN/python     an environment with these two on its path
        |
        '── exec RUN/python/bin/python -I -B -m agency.spinup.cli ──▶ started.py reads what it is

Standard library only, but for `started`: this runs before any library may be trusted.
"""
