"""A stranger with nothing but grpcio and an address finds every service, and calls one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tests.live import Up

PROTO = Path(__file__).parents[2] / "proto" / "cmdop" / "v1"
DEADLINE_S = 20.0


@pytest.fixture
def channel(up: Up) -> Iterator[grpc.Channel]:
    """A plain channel, without any of our stubs."""
    with grpc.insecure_channel(up.address) as channel:
        yield channel


@pytest.fixture
def pool(channel: grpc.Channel) -> tuple[ProtoReflectionDescriptorDatabase, descriptor_pool.DescriptorPool]:
    """What the server says of itself, in a pool of its own: nothing comes from the stubs."""
    database = ProtoReflectionDescriptorDatabase(channel)
    return database, descriptor_pool.DescriptorPool(database)


Described = tuple[ProtoReflectionDescriptorDatabase, descriptor_pool.DescriptorPool]


def services_in_the_protos() -> set[str]:
    """Every service that the protocol's files define."""
    found = [re.findall(r"^service (\w+)", path.read_text(encoding="utf-8"), re.M) for path in PROTO.glob("*.proto")]
    return {f"cmdop.v1.{name}" for names in found for name in names}


def test_every_service_of_the_protocol_is_discovered_with_all_its_methods(pool: Described) -> None:
    database, descriptors = pool
    offered = {name for name in database.get_services() if name.startswith("cmdop.")}
    assert offered == services_in_the_protos()
    for name in offered:
        service = descriptors.FindServiceByName(name)
        assert service.methods, name
        for method in service.methods:
            # A method whose messages cannot be described could not be called.
            assert method.input_type.full_name
            assert method.output_type.full_name


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_either_version_of_reflection_names_both_and_describes_every_service(
    channel: grpc.Channel, version: str
) -> None:
    # The package has the messages of v1alpha alone; those of v1 are the same on the wire.
    ask: Any = cast(Any, channel).stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    versions = {f"grpc.reflection.{one}.ServerReflection" for one in ("v1", "v1alpha")}
    wanted = services_in_the_protos() | versions
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        *(reflection_pb2.ServerReflectionRequest(file_containing_symbol=name) for name in sorted(wanted)),
    ]
    listed, *described = ask(iter(requests), timeout=DEADLINE_S)
    assert {service.name for service in listed.list_services_response.service} == wanted | {"grpc.health.v1.Health"}
    for name, answer in zip(sorted(wanted), described, strict=True):
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(file)
            for file in answer.file_descriptor_response.file_descriptor_proto
        ]
        assert any(name == f"{file.package}.{service.name}" for file in files for service in file.service), name


def test_a_call_is_made_through_what_reflection_says_alone(channel: grpc.Channel, pool: Described) -> None:
    _, descriptors = pool
    method = descriptors.FindServiceByName("cmdop.v1.Tools").FindMethodByName("Describe")
    request_class = message_factory.GetMessageClass(method.input_type)
    answer_class = message_factory.GetMessageClass(method.output_type)
    describe: Any = cast(Any, channel).unary_unary(
        "/cmdop.v1.Tools/Describe",
        request_serializer=request_class.SerializeToString,
        response_deserializer=answer_class.FromString,
    )
    answer = describe(request_class(name="terminal.exec"), timeout=DEADLINE_S)
    assert answer.name == "terminal.exec"
    assert "command" in answer.arguments_schema

    with pytest.raises(grpc.RpcError) as refused:
        describe(request_class(name="no.such"), timeout=DEADLINE_S)
    assert refused.value.code() == grpc.StatusCode.NOT_FOUND


def test_the_described_files_are_the_protocols_own(pool: Described) -> None:
    database, descriptors = pool
    found = descriptors.FindMessageTypeByName("cmdop.v1.Action")
    file = descriptor_pb2.FileDescriptorProto()
    descriptors.FindFileContainingSymbol("cmdop.v1.Action").CopyToProto(file)
    assert (file.package, file.name) == ("cmdop.v1", "cmdop/v1/action.proto")
    assert [field.name for field in found.fields][:2] == ["tool", "host"]
    assert database.FindFileByName("cmdop/v1/call.proto").package == "cmdop.v1"


def test_health_is_told_to_plain_grpcio_for_the_server_and_each_service(channel: grpc.Channel) -> None:
    health = health_pb2_grpc.HealthStub(channel)
    for service in ["", *sorted(services_in_the_protos())]:
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=DEADLINE_S)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING, service
    with pytest.raises(grpc.RpcError) as unknown:
        health.Check(health_pb2.HealthCheckRequest(service="cmdop.v1.Nothing"), timeout=DEADLINE_S)
    assert unknown.value.code() == grpc.StatusCode.NOT_FOUND
