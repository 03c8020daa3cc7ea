"""Loops that numba compiles where it is installed.

``compiled`` decorates them, ``kernel_files`` keeps their machine code, ``compiling`` says what takes long.
"""
