"""What the library costs, as ratios against named peers, all measured in one run: ``make bench``.

Absolute figures depend on the machine and the hour; compare within a table only.
"""
