"""TorchScript archives (`torch.jit.save`): the tensors behind classes that are never compiled.

Modules are pickled as objects with their attributes. Which of those are parameters and which are
buffers is said in the source code beside them, in two lists at the top of every class, which are
found as text; `state_dict()` gives both, in the order in which the attributes were saved.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import IO, Final

from accweight_adapters.bytes.stretch import Stretch
from accweight_adapters.bytes.zip import content_of, member_of
from accweight_adapters.pickles.modules import Members, flat_state
from accweight_adapters.pickles.values import Claim, Entity, TensorClaim
from accweight_adapters.torch.records import unpickled_record
from accweight_adapters.untrusted import ClaimError

Records = Mapping[str, zipfile.ZipInfo]

MOST_CODE_BYTES: Final = 1 << 26
CLASS = re.compile(
    r"^class (?P<name>\w+)\(Module\):\n"
    r"  __parameters__ = \[(?P<parameters>[^\]\n]*)\]\n"
    r"  __buffers__ = \[(?P<buffers>[^\]\n]*)\]",
    re.MULTILINE,
)
NAME = re.compile(r'"([^"\\]+)"')
CONSTANTS: Final = "constants"


def is_script(records: Records, folder: str) -> bool:
    """Tell whether a torch zip is a TorchScript archive."""
    prefix = folder + "code/"
    return folder + "constants.pkl" in records or any(name.startswith(prefix) for name in records)


def scripted(
    file: IO[bytes], content: object, records: Records, folder: str, size_bytes: int
) -> tuple[object, dict[str, Stretch]]:
    """Return the state dict of an archive, and the storages of its constants if they are used.

    A frozen model has no parameters left; its weights are among the constants of its code.
    """
    if not isinstance(content, Entity):
        return content, {}
    kinds = dict(_classes(file, records, folder, size_bytes))

    def members(module: Entity) -> Members:
        tensors, modules = dict[str, Claim](), dict[str, Entity]()
        known = kinds.get(module.kind)
        for name, value in module.attributes.items():
            if isinstance(value, TensorClaim) and (known is None or name in known):
                tensors[str(name)] = value
            elif isinstance(value, Entity) and value.kind.startswith("__torch__."):
                modules[str(name)] = value
        order = {name: place for place, name in enumerate(known or ())}
        ordered = sorted(tensors, key=lambda name: order.get(name, len(order)))
        return {name: tensors[name] for name in ordered}, modules

    state = flat_state(content, members)
    name = folder + "constants.pkl"
    if state or name not in records:
        return state, {}
    constants, storages = unpickled_record(
        file, records, name, f"{folder}{CONSTANTS}/", size_bytes, prefixed=True
    )
    found = enumerate(constants if isinstance(constants, (list, tuple)) else ())
    return {f"{CONSTANTS}.{i}": c for i, c in found if isinstance(c, TensorClaim)}, storages


def _classes(
    file: IO[bytes], records: Records, folder: str, size_bytes: int
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the names of parameters and buffers by class."""
    prefix = folder + "code/"
    left = MOST_CODE_BYTES
    for name, info in records.items():
        if not name.startswith(prefix) or not name.endswith(".py"):
            continue
        member = member_of(file, info, size_bytes)
        left -= member.size_bytes
        if left < 0:
            raise ClaimError(f"holds more than {MOST_CODE_BYTES} bytes of code")
        code = content_of(file, member, member.size_bytes).decode("utf-8", "replace")
        module = name.removeprefix(prefix).removesuffix(".py").replace("/", ".")
        for match in CLASS.finditer(code):
            named = NAME.findall(match["parameters"]) + NAME.findall(match["buffers"])
            yield f"{module}.{match['name']}", tuple(named)
