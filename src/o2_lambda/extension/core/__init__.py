"""Sans-IO core: protocol, state and decisions as plain code. Time and chance come in as arguments."""
