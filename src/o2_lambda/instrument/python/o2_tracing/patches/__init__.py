"""What is changed in libraries, one module each: `patch(module, tracer)`, called once the library is imported."""
