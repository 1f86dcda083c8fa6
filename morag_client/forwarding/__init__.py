"""Passing verified events on to other services, each by a handler like any other."""
