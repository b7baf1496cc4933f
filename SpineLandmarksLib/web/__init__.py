"""The browser reviewer: `controller` is its logic, `scene` the views of 3D Slicer, `page` what is around them."""
