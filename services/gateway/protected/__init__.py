"""Protected people: voices and faces that must never be cloned, by anybody of any tenant."""

from services.gateway.protected.registry import ProtectedPeople

__all__ = ["ProtectedPeople"]
