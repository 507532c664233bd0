"""The systems of the gallery, from simple to hard: a module each, and a line here."""

from accweight_adapters.demo.gallery.system import System
from accweight_adapters.demo.gallery.systems.activis import ACTIVIS
from accweight_adapters.demo.gallery.systems.blocks import BLOCKS
from accweight_adapters.demo.gallery.systems.deep_view import DEEP_VIEW
from accweight_adapters.demo.gallery.systems.deep_visualization_toolbox import (
    DEEP_VISUALIZATION_TOOLBOX,
)
from accweight_adapters.demo.gallery.systems.deepeyes import DEEPEYES
from accweight_adapters.demo.gallery.systems.dgmtracker import DGMTRACKER
from accweight_adapters.demo.gallery.systems.embedding_projector import EMBEDDING_PROJECTOR
from accweight_adapters.demo.gallery.systems.lstmvis import LSTMVIS
from accweight_adapters.demo.gallery.systems.ml_o_scope import ML_O_SCOPE
from accweight_adapters.demo.gallery.systems.playground import PLAYGROUND
from accweight_adapters.demo.gallery.systems.rnnvis import RNNVIS
from accweight_adapters.demo.gallery.systems.shapeshop import SHAPESHOP
from accweight_adapters.demo.gallery.systems.teachable_machine import TEACHABLE_MACHINE
from accweight_adapters.demo.gallery.systems.tensorboard import TENSORBOARD

SYSTEMS: tuple[System, ...] = (
    PLAYGROUND,
    TENSORBOARD,
    ML_O_SCOPE,
    SHAPESHOP,
    DEEP_VISUALIZATION_TOOLBOX,
    TEACHABLE_MACHINE,
    EMBEDDING_PROJECTOR,
    DEEPEYES,
    DEEP_VIEW,
    ACTIVIS,
    BLOCKS,
    LSTMVIS,
    RNNVIS,
    DGMTRACKER,
)
"""In the order of the page."""
