"""The demonstration: a synthetic voice speaks, a face changes place, and what that took is measured."""

from likeness._demo.walk import DemoOutput, run_demo

__all__ = ["DemoOutput", "run_demo"]
