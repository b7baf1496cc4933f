"""Corrections: what the Slicer module and the browser reviewer share. Free of Qt, VTK and Slicer."""
