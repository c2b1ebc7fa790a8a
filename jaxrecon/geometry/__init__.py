"""Rigid transforms, cameras, oriented boxes and polylines."""
