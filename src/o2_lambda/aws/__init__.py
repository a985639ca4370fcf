"""The AWS side: publish the layer, attach it to functions, take it off again. Plans are pure; calls live apart.

    names, package, limits, record, plan    pure: no network, no clock; what is decided
    session, errors, fanout                 clients, one-line explanations, work side by side
    layers, functions, publishing, attaching, status    the calls, and loops around them

It knows nothing about the command line, the extension's code or how the layer's zips are built.
"""
