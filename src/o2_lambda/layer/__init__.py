"""Builds the layer: one static executable per architecture, packed reproducibly.

The way of the data: `inputs` (pinned sources) -> `libraries`, `cpython` (static libraries per target, cached) ->
`freezing` (our code as bytecode in C) -> `linking` (the executable) -> `notices`, `certificates` ->
`packing` (the zip).
Knows nothing about AWS, the emulator or the backend; the extension is only read as source text.
"""
