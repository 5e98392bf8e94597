"""IFEval's form of instructions -> the one form that is kept on disk.

IFEval (Zhou et al. 2023, arXiv 2311.07911) has two lists side by side, `instruction_id_list` and
`kwargs`; the copy on the hub fills each object of the second with every argument there is, null
where it is not meant. Here an instruction is one object: its `kind` and its arguments.
"""

from collections.abc import Mapping

from burnish.errors import DataError
from burnish.types import Json


def instructions_from_ifeval(value: Mapping[str, Json], where: str) -> list[dict[str, Json]]:
    """`[{"kind": ..., argument: ...}, ...]`, arguments that are null left out.

    Which kinds there are, and what they need, is the verifier's to say.

    Raises:
        DataError: a list is missing, empty, or not as long as the other; starts with `where`.
    """
    kinds, kwargs = value.get("instruction_id_list"), value.get("kwargs")
    if not isinstance(kinds, list) or not kinds:
        raise DataError(f"{where}: `instruction_id_list` must be a list of at least one name")
    if not isinstance(kwargs, list) or len(kwargs) != len(kinds):
        raise DataError(f"{where}: `kwargs` must be a list of {len(kinds)}, one an instruction")
    out: list[dict[str, Json]] = []
    for i, (kind, values) in enumerate(zip(kinds, kwargs, strict=True)):
        if not isinstance(kind, str):
            raise DataError(f"{where}: instruction_id_list[{i}] must be a name, not {kind!r}")
        if not isinstance(values, dict | None):
            raise DataError(f"{where}: kwargs[{i}] must be an object or null, not {values!r}")
        given = {name: v for name, v in (values or {}).items() if v is not None}
        if "kind" in given:
            raise DataError(f"{where}: kwargs[{i}]: no instruction has an argument `kind`")
        out.append({"kind": kind, **given})
    return out
