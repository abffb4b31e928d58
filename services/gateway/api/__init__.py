"""The HTTP API: one blueprint for each resource, thin; what they do lives one folder up."""
