"""The version of the distribution; setup.cfg reads it."""

VERSION = "0.1.0"
