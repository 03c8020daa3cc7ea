"""A ledger as static files (C2SP tlog-tiles), and back.

``export`` writes them, ``fetch`` gets them within limits of size and time (``deadline``), ``published`` reads them.
"""
