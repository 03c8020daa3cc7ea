"""Witnesses: what keeps a log from showing two histories.

``witness`` decides, ``state`` remembers, ``server`` speaks HTTP (C2SP tlog-witness); ``gather`` asks witnesses to
cosign, ``fork`` proves that a log has signed two histories.
"""
