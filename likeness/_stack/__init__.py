"""The whole platform on one machine: four stages and the gateway as processes on loopback."""

from likeness._stack.first_key import BOOTSTRAP_VARIABLE, first_key, remember_first_key
from likeness._stack.folder import RunningStack, announce, claim_folder, find_running
from likeness._stack.local import GATEWAY, GRPC_SERVICES, LOOPBACK, local_servers
from likeness._stack.memory import ProcessMemory, stack_memory
from likeness._stack.ports import DEFAULT_HTTP_PORT, free_ports, port_is_free
from likeness._stack.process import ServerSpec
from likeness._stack.supervisor import Stack, StackError, StackEvent, State

__all__ = [
    "BOOTSTRAP_VARIABLE",
    "DEFAULT_HTTP_PORT",
    "GATEWAY",
    "GRPC_SERVICES",
    "LOOPBACK",
    "ProcessMemory",
    "RunningStack",
    "ServerSpec",
    "Stack",
    "StackError",
    "StackEvent",
    "State",
    "announce",
    "claim_folder",
    "find_running",
    "first_key",
    "free_ports",
    "local_servers",
    "port_is_free",
    "remember_first_key",
    "stack_memory",
]
