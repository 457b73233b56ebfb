"""The parts of the transport suite, one module per part of the contract."""
