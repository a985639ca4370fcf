"""The extension: the one process that the layer runs beside the customer's function. Standard library only.

`core/` decides and knows no sockets, clocks or threads; `io/` performs; `engine.py` joins the two.
"""
