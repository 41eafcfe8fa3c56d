"""A guarded call from a plain gRPC client: `python examples/guarded_call.py [ADDRESS]`."""

import json
import os
import sys

import grpc

from cmdop import v1
from cmdop.v1 import call_pb2_grpc

address = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("CMDOP_ADDRESS", "127.0.0.1:7717")
with grpc.insecure_channel(address) as channel:
    action = v1.Action(
        tool="files.list",
        host="local",
        intent="see what is there",
        arguments_json=json.dumps({"path": "/srv/app"}),
    )
    proposal = v1.Proposal(action=action, actor=v1.Actor(user="me"))
    try:
        call = call_pb2_grpc.CallsStub(channel).Propose(v1.ProposeRequest(proposal=proposal), timeout=30)
    except grpc.RpcError as error:
        sys.exit(f"the call was not taken by {address}: {error.code().name}: {error.details()}")
    print(v1.CallState.Name(call.state), call.result.result_json or call.error.message)
