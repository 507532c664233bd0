"""A screen to draw on: the user's, or a virtual one, or an error that says what is missing.

Qt aborts the process if it finds no display, and does not say why OpenGL fails. So both are tested
here first, and each problem becomes one line that says what to install.
"""

from __future__ import annotations

import atexit
import os
import select
import shutil
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from accweight_core.errors import AccweightError

if TYPE_CHECKING:
    from pyqtgraph.Qt import QtWidgets

LEAST_OPENGL = 3, 3

DEBIAN_PACKAGES = (
    "xvfb libgl1 libgl1-mesa-dri libegl1 libglx0 libxkbcommon-x11-0 libx11-xcb1 libxcb-icccm4 "
    "libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0 libxcb-shape0 "
    "libxcb-xinerama0 libxcb-xkb1 libdbus-1-3 libfontconfig1"
)
"""Packages that PyQt5 and software OpenGL need on a machine without a screen."""

XVFB_SECONDS = 10

_kept: list[QtWidgets.QApplication] = []
"""Keeps the application alive; its windows disappear with it."""

_SOFTWARE = ("llvmpipe", "softpipe", "swrast", "swiftshader", "software", "gdi generic")


class DisplayError(AccweightError, RuntimeError):
    """Raised when there is no usable display."""


class Graphics(NamedTuple):
    """Version and renderer of OpenGL."""

    version: tuple[int, int]
    renderer: str

    @property
    def software(self) -> bool:
        """Whether OpenGL is rendered by the CPU."""
        return any(word in self.renderer.lower() for word in _SOFTWARE)


def has_display() -> bool:
    """Tell whether there is probably a display, without connecting to it."""
    if sys.platform != "linux":
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def need_display(width: int, height: int, *, virtual: bool) -> None:
    """Make sure that there is a display.

    Args:
        width: Width of the window, for a virtual screen.
        height: Height of the window.
        virtual: Whether a virtual screen is sufficient.

    Raises:
        DisplayError: If there is none.
    """
    if has_display():
        return
    program = shutil.which("Xvfb")
    if virtual and program:
        _start_virtual(program, width, height)
        return
    if virtual:
        raise DisplayError(
            "there is no display, and no Xvfb to make a virtual one; on Debian or Ubuntu: "
            f"apt-get install {DEBIAN_PACKAGES}"
        )
    raise DisplayError(
        "there is no display to open a window on; log in with one (ssh -X), or write a picture "
        "instead with --screenshot FILE.png or --movie FILE.mp4"
    )


def _start_virtual(program: str, width: int, height: int) -> None:
    """Start a virtual X server, which ends with this process."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    screen = f"{max(width, 640)}x{max(height, 480)}x24"
    arguments = [program, "-displayfd", str(writing), "-screen", "0", screen]
    arguments += ["-nolisten", "tcp", "-terminate"]  # ends with its last window
    quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
    server = os.posix_spawn(program, arguments, os.environ, file_actions=quiet, setpgroup=0)
    os.close(writing)
    atexit.register(_stop_unused, server)
    with os.fdopen(reading, "rb") as pipe:
        ready, _, _ = select.select([pipe], [], [], XVFB_SECONDS)
        number = pipe.readline().strip().decode() if ready else ""
    if not number:
        raise DisplayError(f"{program} did not start within {XVFB_SECONDS} s; try: xvfb-run -a ...")
    os.environ["DISPLAY"] = f":{number}"


def _stop_unused(server: int) -> None:
    """Stop a server that no window was opened on; Qt would report its end as an error."""
    if not _kept:
        os.kill(server, signal.SIGTERM)
        os.waitpid(server, 0)


def application() -> QtWidgets.QApplication:
    """Return the application, created if necessary.

    Raises:
        DisplayError: If Qt, its SVG module or pyqtgraph are not installed.
    """
    try:
        import OpenGL  # noqa: F401 - needed later, but missed here, where that is explained
        from pyqtgraph.Qt import QtCore, QtGui, QtSvg, QtWidgets

        _ = QtSvg.QSvgRenderer  # raises the import error that pyqtgraph deferred
    except ImportError as error:
        raise DisplayError(
            f"the viewer cannot start ({error}); install it with: pip install 'accweight[viewer]', "
            f"and on a bare Debian or Ubuntu also: apt-get install {DEBIAN_PACKAGES}"
        ) from error
    existing = QtWidgets.QApplication.instance()
    if existing is not None:
        return existing
    said: list[str] = []
    previous = QtCore.qInstallMessageHandler(partial(_heard, said))
    surface = QtGui.QSurfaceFormat()
    surface.setVersion(*LEAST_OPENGL)
    surface.setProfile(QtGui.QSurfaceFormat.OpenGLContextProfile.CoreProfile)
    surface.setDepthBufferSize(24)
    QtGui.QSurfaceFormat.setDefaultFormat(surface)
    if hasattr(QtCore.Qt, "AA_UseHighDpiPixmaps"):  # the default in Qt 6
        QtCore.QCoreApplication.setAttribute(QtCore.Qt.ApplicationAttribute.AA_UseHighDpiPixmaps)
    made = QtWidgets.QApplication(sys.argv[:1])
    _kept.append(made)
    QtCore.qInstallMessageHandler(previous)
    sys.stderr.writelines(f"{line}\n" for line in said)
    return made


def smooth_edges(samples: int) -> None:
    """Set the number of samples per pixel for new windows; 0 for no antialiasing."""
    from pyqtgraph.Qt import QtGui

    surface = QtGui.QSurfaceFormat.defaultFormat()
    surface.setSamples(samples)
    QtGui.QSurfaceFormat.setDefaultFormat(surface)


def graphics() -> Graphics:
    """Return the OpenGL version and renderer; needs an application.

    Raises:
        DisplayError: If OpenGL is missing or too old.
    """
    from OpenGL import GL
    from pyqtgraph.Qt import QtGui

    context = QtGui.QOpenGLContext()
    surface = QtGui.QOffscreenSurface()
    surface.create()
    if not context.create() or not context.makeCurrent(surface):
        raise DisplayError(
            "OpenGL does not work here; install a driver, or for drawing by the processor on "
            "Debian or Ubuntu: apt-get install libgl1 libgl1-mesa-dri libegl1"
        )
    shape = context.format()
    version = shape.majorVersion(), shape.minorVersion()
    name = GL.glGetString(GL.GL_RENDERER)
    context.doneCurrent()
    found = Graphics(version, name.decode(errors="replace") if name else "unknown")
    if version < LEAST_OPENGL:
        raise DisplayError(
            f"OpenGL {version[0]}.{version[1]} ({found.renderer}) is too old; the viewer needs "
            f"{LEAST_OPENGL[0]}.{LEAST_OPENGL[1]}. Update the driver, or draw by the processor: "
            "LIBGL_ALWAYS_SOFTWARE=1 accweight view ..."
        )
    return found


def _heard(said: list[str], kind: object, context: object, message: str | None) -> None:
    """Collect Qt's start-up messages; on a fatal one, exit with one line before Qt aborts."""
    from pyqtgraph.Qt import QtCore

    text = " ".join((message or "").split())
    if kind == QtCore.QtMsgType.QtFatalMsg:
        _give_up([*said, text])
    if text and "XDG_RUNTIME_DIR" not in text:
        said.append(text)


def _give_up(reasons: list[str]) -> NoReturn:
    """Exit with an error; the first message is the closest to the cause."""
    sys.stderr.write(
        f"accweight: Qt cannot open a window ({reasons[0]}); is the display reachable? "
        f"On a bare Debian or Ubuntu: apt-get install {DEBIAN_PACKAGES}\n"
    )
    sys.stderr.flush()
    os._exit(1)
