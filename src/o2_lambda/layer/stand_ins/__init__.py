"""Modules that are frozen under the names of larger ones, which CPython imports while it starts.

Each holds what the executable uses of the original and nothing else; together they save a third of the start.
"""
