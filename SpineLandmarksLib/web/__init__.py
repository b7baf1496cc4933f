"""The browser reviewer: `desk` is its logic, `scene` the views of 3D Slicer, `page` what is around them."""
