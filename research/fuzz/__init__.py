"""Damaged and odd files for every reader: anything but a result or one clear line is a finding.

    python -m research.fuzz --count 100000           # or: make fuzz
    python -m research.fuzz --only csv --first 123 --count 1 --keep findings

An input follows from the target's name, the seed and its number alone, so that a finding can be made again.
"""
