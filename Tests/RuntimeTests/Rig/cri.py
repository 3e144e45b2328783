# SPDX-License-Identifier: Apache-2.0
#
# cri.py SOCKET: speaks CRI for a test. A line of input is a list of calls that are made at once,
# [[NAME, REQUEST], ...]; a line of output is the list of [ERROR OR NULL, ANSWER].
import concurrent.futures
import json
import sys

import grpc
from cri_api.v1 import api_pb2, api_pb2_grpc
from google.protobuf import json_format

PATIENCE = 120

channel = grpc.insecure_channel("unix://" + sys.argv[1])
runtime = api_pb2_grpc.RuntimeServiceStub(channel)


def call(what):
    name, request = what
    message = json_format.ParseDict(request, getattr(api_pb2, name + "Request")())
    try:
        answer = getattr(runtime, name)(message, timeout=PATIENCE, wait_for_ready=True)
    except grpc.RpcError as error:
        return [error.details(), {}]
    return [None, json_format.MessageToDict(answer, preserving_proto_field_name=True)]


with concurrent.futures.ThreadPoolExecutor(16) as pool:
    for line in sys.stdin:
        print(json.dumps(list(pool.map(call, json.loads(line)))), flush=True)
