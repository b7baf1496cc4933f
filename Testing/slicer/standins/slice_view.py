"""A slice view with the real displayable managers and interactor style of Slicer, drawn without a screen.

Desktop Slicer puts the same parts into a Qt widget (qMRMLSliceView). Here a person's mouse is VTK interactor events.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

MANAGERS = ("vtkMRMLMarkupsDisplayableManager", "vtkMRMLCrosshairDisplayableManager")


class SliceView:
    """name: of a view of the layout (Red, Yellow, Green). size: its width and height in pixels."""

    def __init__(self, name: str, size: tuple[int, int] = (512, 512)) -> None:
        widget = slicer.app.layoutManager().sliceWidget(name)
        self.node, self.logic = widget.mrmlSliceNode(), widget.sliceLogic()
        self.renderer, self.window = vtk.vtkRenderer(), vtk.vtkRenderWindow()
        self.renderer.GetActiveCamera().ParallelProjectionOn()
        self.window.SetOffScreenRendering(True)
        self.window.SetMultiSamples(0)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self.mouse = vtk.vtkGenericRenderWindowInteractor()
        self.mouse.SetRenderWindow(self.window)
        self.mouse.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        self.managers = slicer.vtkMRMLDisplayableManagerGroup()
        self.managers.Initialize(_factory(), self.renderer)
        self.style = slicer.vtkMRMLSliceViewInteractorStyle()
        self.style.SetSliceLogic(self.logic)
        self.style.SetInteractor(self.mouse)
        self.style.SetDisplayableManagers(self.managers)
        self.managers.SetMRMLDisplayableNode(self.node)
        self.mouse.Initialize()
        self.logic.ResizeSliceNode(*size)
        self._image = _image_of(self.renderer)
        self._tag = self.logic.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._connect())
        self._connect()

    def close(self) -> None:
        self.logic.RemoveObserver(self._tag)
        self.managers.SetMRMLDisplayableNode(None)
        self.style.SetInteractor(None)
        self.window.Finalize()

    def pixel_of(self, world_ras_mm: Sequence[float]) -> NDArray[np.float64]:
        """(2,) pixel of this view, from its lower left corner."""
        xy_from_ras = np.linalg.inv(slicer.util.arrayFromVTKMatrix(self.node.GetXYToRAS()))
        return (xy_from_ras @ [*world_ras_mm, 1.0])[:2]

    def position_of(self, pixel: Sequence[float]) -> NDArray[np.float64]:
        """(3,) world position in RAS mm of a pixel of this view, in the plane that it shows."""
        return (slicer.util.arrayFromVTKMatrix(self.node.GetXYToRAS()) @ [*pixel, 0.0, 1.0])[:3]

    def move_to(self, pixel: Sequence[float]) -> None:
        x, y = (round(float(value)) for value in pixel)
        self.mouse.SetEventInformation(x, y, 0, 0, chr(0), 0, None)
        self.mouse.MouseMoveEvent()

    def click(self, pixel: Sequence[float]) -> None:
        self.move_to(pixel)
        self.mouse.LeftButtonPressEvent()
        self.mouse.LeftButtonReleaseEvent()

    def right_click(self, pixel: Sequence[float]) -> None:
        self.move_to(pixel)
        self.mouse.RightButtonPressEvent()
        self.mouse.RightButtonReleaseEvent()

    def press(self, key: str, code: str) -> None:
        """A key, while the mouse is over the view. Slicer's markups heed few: Esc is none of them."""
        self.mouse.SetEventInformation(*self.mouse.GetEventPosition(), 0, 0, code, 0, key)
        for event in (self.mouse.KeyPressEvent, self.mouse.CharEvent, self.mouse.KeyReleaseEvent):
            event()

    def drag(self, start: Sequence[float], *by: float) -> None:
        """Hover, press, move in ten steps and let go."""
        self.move_to(start)
        self.mouse.LeftButtonPressEvent()
        for share in np.linspace(0.1, 1.0, 10):
            self.move_to(np.add(start, share * np.asarray(by)))
        self.mouse.LeftButtonReleaseEvent()

    def pixels(self) -> NDArray[np.uint8]:
        """(height, width, 3) what the view shows; row 0 is at the top."""
        self.window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self.window)
        grabber.ReadFrontBufferOff()
        grabber.Update()
        image = grabber.GetOutput()
        width, height, _ = image.GetDimensions()
        return np.asarray(vtk_to_numpy(image.GetPointData().GetScalars()).reshape(height, width, -1)[::-1, :, :3])

    def colour_at(self, pixel: Sequence[float]) -> tuple[int, int, int]:
        x, y = (round(float(value)) for value in pixel)
        red, green, blue = self.pixels()[-1 - y, x]
        return int(red), int(green), int(blue)

    def write(self, path: Path) -> None:
        """A PNG of what the view shows."""
        from PIL import Image

        Image.fromarray(self.pixels()).save(path)

    def _connect(self) -> None:
        source = self.logic.GetImageDataConnection()
        self._image.SetVisibility(source is not None)
        if source is not None:
            self._image.GetMapper().SetInputConnection(source)


def _factory() -> Any:
    factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
    factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
    for name in MANAGERS:
        if not factory.IsDisplayableManagerRegistered(name):
            factory.RegisterDisplayableManager(name)
    return factory


def _image_of(renderer: Any) -> Any:
    """The actor of the slice, whose grey values the slice logic has made into colours of 0..255."""
    actor, mapper = vtk.vtkActor2D(), vtk.vtkImageMapper()
    mapper.SetColorWindow(255)
    mapper.SetColorLevel(127.5)
    actor.SetMapper(mapper)
    actor.GetProperty().SetDisplayLocationToBackground()
    renderer.AddViewProp(actor)
    return actor
