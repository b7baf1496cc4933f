"""What the Slicer module is made of: the scene, the widgets and the worker, wired to SpineLandmarksLib.

Only here are `slicer`, `vtk` and `qt` known. How landmarks are corrected, measured and written is the library's.
"""
