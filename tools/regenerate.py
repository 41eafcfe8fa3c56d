"""Writes what derives from `proto/`: the Python stubs, the error classes and the pages of the reasons.

`tests/wire/test_generated.py` renders the same into a temporary directory and compares. The Rust
messages are written by `CMDOP_REGENERATE=1 cargo test -p cmdop-contract --test generated`.
"""

from __future__ import annotations

import importlib.resources
import sys
import tempfile
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

sys.path.insert(0, str(Path(__file__).resolve().parent))

from error_pages import pages

ROOT = Path(__file__).resolve().parent.parent
MARKER = "# --- Below this line: written by tools/regenerate.py from proto/cmdop/v1/error.proto. ---\n"

# Reasons whose plain class name would be mistaken for a class of the standard library.
RENAMED = {"CANCELLED": "CallCancelledError", "TIMED_OUT": "CommandTimedOutError"}

# Family of a reason, by its number: the blocks of the enum in error.proto.
FAMILIES = (
    (0, 1, "CmdopError"),
    (1, 20, "MalformedCallError"),
    (20, 40, "RefusedError"),
    (40, 70, "ExecutionError"),
    (70, 90, "ServiceError"),
    (90, 100, "RefusedError"),
)


def generate(root: Path = ROOT) -> dict[Path, str]:
    """Renders every generated file, by its path relative to the repository."""
    with tempfile.TemporaryDirectory() as directory:
        pool = _compile(root, Path(directory))
        files = {
            Path("python") / path.relative_to(directory): path.read_text()
            for path in sorted(Path(directory, "cmdop").rglob("*"))
            if path.is_file() and _is_wanted(path)
        }
    files[Path("python/cmdop/v1/__init__.py")] = _package(pool)
    errors = Path("python/cmdop/errors.py")
    head = (root / errors).read_text().split(MARKER)[0]
    files[errors] = head + MARKER + _error_classes(pool)
    return files | pages(root, _reasons(pool), FAMILIES)


def _compile(root: Path, out: Path) -> descriptor_pb2.FileDescriptorSet:
    include = importlib.resources.files("grpc_tools") / "_proto"
    protos = sorted(str(path.relative_to(root / "proto")) for path in (root / "proto").rglob("*.proto"))
    descriptors = out / "set.bin"
    arguments = [
        "protoc", f"-I{root / 'proto'}", f"-I{include}", f"--python_out={out}", f"--pyi_out={out}",
        f"--grpc_python_out={out}", f"--descriptor_set_out={descriptors}", "--include_imports", *protos,
    ]  # fmt: skip
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc failed; see its messages above")
    return descriptor_pb2.FileDescriptorSet.FromString(descriptors.read_bytes())


def _is_wanted(path: Path) -> bool:
    """The gRPC plugin writes a module for files without a service, too."""
    return not path.name.endswith("_pb2_grpc.py") or "Stub" in path.read_text()


def _ours(files: descriptor_pb2.FileDescriptorSet) -> list[descriptor_pb2.FileDescriptorProto]:
    return sorted((file for file in files.file if file.package == "cmdop.v1"), key=lambda file: file.name)


def _package(files: descriptor_pb2.FileDescriptorSet) -> str:
    lines = [
        '"""The messages of `proto/cmdop/v1`. Generated; importing it does not need grpcio.',
        "",
        "Service stubs for plain gRPC clients are in `cmdop.v1.<file>_pb2_grpc` (extra `cmdop[grpc]`).",
        '"""',
        "",
    ]
    exported: list[str] = []
    for file in _ours(files):
        names = sorted([message.name for message in file.message_type] + [enum.name for enum in file.enum_type])
        module = Path(file.name).stem + "_pb2"
        lines += [f"from cmdop.v1.{module} import (", *(f"    {name}," for name in names), ")"]
        exported += names
    lines += ["", "__all__ = [", *(f'    "{name}",' for name in sorted(exported)), "]"]
    return "\n".join(lines) + "\n"


def _error_classes(files: descriptor_pb2.FileDescriptorSet) -> str:
    rows = _reasons(files)
    blocks: list[str] = []
    for family in dict.fromkeys(name for _, _, name in FAMILIES[1:]):
        blocks.append(f"class {family}(CmdopError):\n{_doc(FAMILY_DOCS[family])}")
    table = []
    for row in rows:
        if row["number"] == 0:
            continue
        family = next(name for low, high, name in FAMILIES if low <= row["number"] < high)
        blocks.append(
            f"class {row['class']}({family}):\n"
            f"{_doc(row['summary'])}\n"
            f'    reason: ClassVar[str] = "{row["name"]}"\n'
            f'    retry: ClassVar[Retry] = "{row["retry"]}"\n'
            f"    grpc_code: ClassVar[int] = {row['grpc_code']}\n"
        )
        table.append(f"        {row['class']},")
    table_text = (
        "BY_REASON: Final[Mapping[str, type[CmdopError]]] = {\n"
        "    kind.reason: kind\n    for kind in (\n" + "\n".join(table) + "\n    )\n}\n"
        '"""The class of each reason, by its text form."""\n'
    )
    return "\n\n" + "\n\n".join([*blocks, table_text]).replace("\n\n\n\n", "\n\n\n")


FAMILY_DOCS = {
    "MalformedCallError": "The call is not well formed or names what does not exist. Mend it and propose it again.",
    "RefusedError": "Policy or a person refused the call, or could not be asked. Nothing happened.",
    "ExecutionError": "The host could not run the call, or it ran and failed.",
    "ServiceError": "The connection, the server or its storage failed.",
}


def _doc(text: str) -> str:
    return f'    """{text}"""\n'


def _reasons(files: descriptor_pb2.FileDescriptorSet) -> list[dict[str, Any]]:
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    # The options must be read with the classes of this pool, which know the extension.
    options_type = message_factory.GetMessageClass(pool.FindMessageTypeByName("google.protobuf.EnumValueOptions"))
    extension = pool.FindExtensionByName("cmdop.v1.reason_spec")
    message_factory.GetMessageClass(extension.message_type)
    retries = pool.FindEnumTypeByName("cmdop.v1.RetryClass")
    rows: list[dict[str, Any]] = []
    for value in pool.FindEnumTypeByName("cmdop.v1.Reason").values:
        spec: Any = options_type.FromString(value.GetOptions().SerializeToString()).Extensions[extension]
        name = value.name.removeprefix("REASON_")
        rows.append(
            {
                "number": value.number,
                "name": name,
                "class": _class_name(name),
                "summary": spec.summary,
                "retry": retries.values_by_number[spec.retry].name.removeprefix("RETRY_CLASS_").lower(),
                "grpc_code": spec.grpc_code,
                "remedy": spec.remedy,
                "mend": spec.mend,
                "mechanical": spec.mechanical,
            }
        )
    return rows


def _class_name(reason: str) -> str:
    camel = "".join(word.capitalize() for word in reason.split("_"))
    return RENAMED.get(reason, camel if camel.endswith("Error") else f"{camel}Error")


def main() -> None:
    """Writes the files, and removes stubs of protos that are gone."""
    files = generate()
    written = [*(ROOT / "python/cmdop/v1").glob("*_pb2*"), *(ROOT / "docs/errors").glob("*.md")]
    for stale in {path.relative_to(ROOT) for path in written} - set(files):
        (ROOT / stale).unlink()
    for path, text in files.items():
        target = ROOT / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_text() != text:
            target.write_text(text)
            print(path, file=sys.stderr)


if __name__ == "__main__":
    main()
